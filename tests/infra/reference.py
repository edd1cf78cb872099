"""What AWS publishes, as packages hold it: the Service Authorization Reference, and what CloudFormation's handlers call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from tests.conftest import REPOSITORY, lacking

PUBLISHED = REPOSITORY / "node_modules" / "@cloud-copilot" / "iam-data" / "data"
GLOBAL_KEY = re.compile(r"aws:(CalledVia\w*|Source\w+|SecureTransport|Principal\w+)")  # of any request; IAM User Guide


@cache
def _table(kind: str, service: str) -> dict[str, Any]:
    if not PUBLISHED.is_dir():
        lacking("no Service Authorization Reference: make synth installs it")
    file = PUBLISHED / kind / f"{service}.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def expand(pattern: str) -> list[str]:
    """The actions that `service:Name`, with `*` or without, stands for; none where it has no meaning."""
    service, _, name = pattern.partition(":")
    wanted = re.compile(re.escape(name).replace(r"\*", ".*"), re.IGNORECASE)
    return [f"{service}:{each['name']}" for each in _table("actions", service).values() if wanted.fullmatch(each["name"])]


def _action(action: str) -> dict[str, Any]:
    service, _, name = action.partition(":")
    return _table("actions", service)[name.lower()]


def formats(action: str) -> list[str]:
    """ARNs that the action is done to, with variables such as ${BucketName}; none where it takes only `*`."""
    service = action.partition(":")[0]
    types = _table("resourceTypes", service)
    return [types[each["name"].lower()]["arn"] for each in _action(action)["resourceTypes"]]


def has_key(action: str, key: str) -> bool:
    """Whether a request for the action ever carries the condition key."""
    service = action.partition(":")[0]
    types = _table("resourceTypes", service)
    keys = {*_action(action)["conditionKeys"]}
    for each in _action(action)["resourceTypes"]:
        keys.update(each["conditionKeys"], types[each["name"].lower()].get("conditionKeys", []))
    patterns = (re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(each)) for each in keys)
    return bool(GLOBAL_KEY.fullmatch(key)) or any(re.fullmatch(pattern, key, re.IGNORECASE) for pattern in patterns)


def overlap(arn: str, pattern: str) -> bool:
    """Whether some ARN of a published format is matched by a policy's `pattern`."""
    if pattern == "*":
        return True
    ours, theirs = (text.split(":", 5) for text in (pattern, re.sub(r"\$\{.*?\}", "*", arn)))
    return len(ours) == len(theirs) and all(map(_meet, ours, theirs))


def _meet(left: str, right: str) -> bool:
    """Whether two texts with `*` have a text in common."""
    if not left or not right:
        return not (left + right).strip("*")
    if left[0] == "*":
        return _meet(left[1:], right) or _meet(left, right[1:])
    if right[0] == "*":
        return _meet(right, left)
    return left[0] == right[0] and _meet(left[1:], right[1:])


def handlers(kind: str) -> dict[str, list[str]]:
    """The actions that CloudFormation calls to create, read, update or delete a resource of this type, and to tag it."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    phases = {name: _known(handler["permissions"]) for name, handler in schema["handlers"].items() if name != "list"}
    tags = _known((schema.get("tagging") or {}).get("permissions", []))
    phases["update"] = sorted({*phases.get("update", []), *tags})
    return phases


def _known(actions: Iterable[str]) -> list[str]:
    """Handlers list a few actions that IAM has never had."""
    return list(_each(actions))


def _each(actions: Iterable[str]) -> Iterator[str]:
    for action in actions:
        yield from expand(action)
