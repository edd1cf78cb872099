"""Asks an independent simulator of IAM whether requests are allowed: see simulate.mjs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, lacking

SCRIPT = Path(__file__).with_name("simulate.mjs")
Context = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Request:
    """`principal` asks to do `action` to `resource` of `account`. policies: its own, resource_policy: the resource's."""

    principal: str
    action: str
    resource: str
    account: str
    context: Context = field(default_factory=dict)
    policies: Sequence[Any] = ()
    boundary: Any | None = None
    resource_policy: Any | None = None

    def simulation(self) -> dict[str, Any]:
        return {
            "request": {
                "principal": self.principal,
                "action": self.action,
                "resource": {"resource": self.resource, "accountId": self.account},
                "contextVariables": {"aws:SecureTransport": "true", **self.context},
            },
            "identityPolicies": [{"name": f"policy-{n}", "policy": policy} for n, policy in enumerate(self.policies)],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
            **({"resourcePolicy": self.resource_policy} if self.resource_policy else {}),
            **({"permissionBoundaryPolicies": [{"name": "boundary", "policy": self.boundary}]} if self.boundary else {}),
        }


def ask(requests: Sequence[Request]) -> list[str]:
    """An answer for each: Allowed, ImplicitlyDenied or ExplicitlyDenied. Fails where the simulator refuses a question or a policy."""
    if not (REPOSITORY / "node_modules" / "@cloud-copilot" / "iam-simulate").is_dir():
        lacking("no IAM simulator: make synth installs it")
    asked = json.dumps([request.simulation() for request in requests])
    done = subprocess.run([node(), SCRIPT], input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    answers = json.loads(done.stdout)
    wrong = [(r.action, r.resource, a) for r, a in zip(requests, answers, strict=True) if a.startswith("error")]
    assert not wrong, wrong[:5]
    return answers


def node() -> str:
    """The Node.js of the lock file."""
    found = Path(sys.executable).with_name("node")
    if not found.exists():
        lacking("no Node in the virtual environment: make setup brings it")
    return str(found)
