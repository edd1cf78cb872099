"""Stacks synthesised in this process, and read back from the files that the CLI would deploy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.environments import Environment, load_environments
from tests.conftest import REPOSITORY
from tests.infra.deployed import Account, read_templates

REPO = "example/verger"
NUMBERED = "example@1234/verger@5678"  # the same, as the tokens of newer repositories have it
BIN = Path(sys.executable).parent
# jsii takes the first node on the path: ours, from the lock file, before the machine's
os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"

DEV_AND_PROD = Path(__file__).with_name("environments.toml")
# Of cdk.json, whose repository is, as infra/environments.toml, a deployment's own
FLAGS: Mapping[str, Any] = json.loads((REPOSITORY / "cdk.json").read_text())["context"] | {"repository": "", "oidc_provider_arn": ""}


@dataclass(frozen=True)
class Assembly:
    """What a synthesis left in `folder`."""

    folder: Path

    @property
    def account(self) -> Account:
        """The stacks as they would be once deployed."""
        return Account(read_templates(self.folder))

    @property
    def protected(self) -> dict[str, bool]:
        """Whether a stack refuses to be deleted, by name."""
        artifacts = json.loads((self.folder / "manifest.json").read_text())["artifacts"].items()
        return {
            name: artifact["properties"].get("terminationProtection", False)
            for name, artifact in artifacts
            if artifact["type"] == "aws:cloudformation:stack"
        }

    def assets(self, stack: str) -> dict[str, str]:
        """Keys of a stack's files, by the construct's path; its template is one of them."""
        files = json.loads((self.folder / f"{stack}.assets.json").read_text())["files"].values()
        return {each["displayName"]: next(iter(each["destinations"].values()))["objectKey"] for each in files}


def synthesise(
    folder: Path,
    *,
    environments: Mapping[str, Environment] | None = None,
    watch: Callable[[Any], None] = lambda _app: None,
    **context: str,
) -> Assembly:
    """All stacks with cdk.json's flags, placeholders for what has not been built, and `context` over both. `watch` sees the app first.

    environments  those of the tests where none are given
    """
    from aws_cdk import App

    from infra import app

    given = {"environment": "all", "placeholders": "true", "build": str(folder / "build"), **context}
    cdk_app = App(context={**FLAGS, **given}, outdir=str(folder / "out"))
    watch(cdk_app)
    app.synthesise(cdk_app, environments=dict(environments or load_environments(DEV_AND_PROD)))
    return Assembly(folder / "out")
