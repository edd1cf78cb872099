"""Writes the snapshots of the templates anew: python -m tests.infra.renew. What changed is then read in git's diff.

They are of infra/environments.toml, so that a change of it is read as templates as well.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra.environments import load_environments
from tests.infra.assembly import REPO, Assembly, synthesise

SNAPSHOTS = Path(__file__).with_name("snapshots")


def snapshots(assembly: Assembly) -> dict[str, Any]:
    """Templates by environment, with the names of the assets in the place of their digests."""
    parts: dict[str, Any] = {}
    for stack, template in assembly.account.templates.items():
        name = stack.split("-")[1].lower()
        parts.setdefault(name, {})[stack] = json.loads(_named(json.dumps(template), assembly.assets(stack)))
    return parts


def _named(text: str, assets: dict[str, str]) -> str:
    for name, key in assets.items():
        text = text.replace(Path(key).stem, f"<{name}>")
    return text


def main() -> int:
    """Synthesises and writes."""
    SNAPSHOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = snapshots(synthesise(Path(folder), environments=load_environments(), repository=REPO))
        for old in SNAPSHOTS.glob("*.json"):
            if old.stem not in found:
                old.unlink()
        for name, templates in found.items():
            (SNAPSHOTS / f"{name}.json").write_text(f"{json.dumps(templates, indent=1, sort_keys=True)}\n")
            print(SNAPSHOTS / f"{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
