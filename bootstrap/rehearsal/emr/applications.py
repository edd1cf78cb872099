"""An application of the stand-in: its settings, and its state, which runs and idleness change."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from bootstrap.rehearsal.local import ACCOUNT, REGION

CHANGEABLE = ("CREATED", "STOPPED")  # in which UpdateApplication and DeleteApplication are allowed


def new_id() -> str:
    """An identifier as the service makes them."""
    return "00" + secrets.token_hex(7)


@dataclass(slots=True)
class Application:
    """settings: the CreateApplication request. Times in seconds since 1970."""

    settings: dict[str, Any]
    id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    running: int = 0
    _state: str = "CREATED"

    @property
    def arn(self) -> str:
        return f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/{self.id}"

    @property
    def state(self) -> str:
        stop = self.settings.get("autoStopConfiguration", {})
        idle_s = 60 * stop.get("idleTimeoutMinutes", 15)
        if self._state == "STARTED" and not self.running and stop.get("enabled", True) and time.time() - self.used > idle_s:
            self._state = "STOPPED"
        return self._state

    def become(self, state: str) -> None:
        self._state, self.used = state, time.time()

    def defaults(self) -> dict[str, str]:
        """Spark properties that its runs have unless they say otherwise."""
        return spark_defaults(self.settings.get("runtimeConfiguration", []))

    def to_json(self) -> dict[str, Any]:
        """As GetApplication gives it."""
        settings = {name: value for name, value in self.settings.items() if name != "clientToken"}
        return settings | {
            "applicationId": self.id,
            "arn": self.arn,
            "type": str(settings["type"]).capitalize(),
            "state": self.state,
            "createdAt": self.created,
            "updatedAt": self.updated,
        }

    def summary(self) -> dict[str, Any]:
        """As ListApplications gives it."""
        wanted = ("name", "arn", "releaseLabel", "type", "state", "createdAt", "updatedAt", "architecture")
        return {"id": self.id} | {name: value for name, value in self.to_json().items() if name in wanted}


def spark_defaults(configurations: list[dict[str, Any]]) -> dict[str, str]:
    """The properties of the classification spark-defaults."""
    found = [each.get("properties", {}) for each in configurations if each["classification"] == "spark-defaults"]
    return {name: value for properties in found for name, value in properties.items()}
