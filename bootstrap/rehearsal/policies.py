"""IAM policies, evaluated: actions, resources, principals and the conditions that Verger's policies use.

moto's own evaluation knows no conditions. What is not known here is an error, never a silent yes or no.
Source: "Policy evaluation logic" and "IAM JSON policy elements: Condition operators", IAM User Guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from moto.iam.models import iam_backends

from bootstrap.rehearsal.local import ACCOUNT


@dataclass(frozen=True, slots=True)
class Question:
    """May this be done? resource None: in a trust policy, which names none. principal: a service's name, or "" for a run's role."""

    action: str
    resource: str | None
    context: Mapping[str, str] = field(default_factory=dict)
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """The statements of one document."""

    statements: tuple[Mapping[str, Any], ...]

    @classmethod
    def parse(cls, document: Any) -> Policy:
        values = json.loads(document) if isinstance(document, (str, bytes)) else document
        return cls(tuple(_listed(values["Statement"])))

    def allows(self, question: Question) -> bool:
        return any(each["Effect"] == "Allow" and _applies(each, question) for each in self.statements)

    def denies(self, question: Question) -> bool:
        return any(each["Effect"] == "Deny" and _applies(each, question) for each in self.statements)


def decide(question: Question, policies: Iterable[Policy]) -> bool:
    """Some policy allows it and none denies it."""
    known = list(policies)
    return any(policy.allows(question) for policy in known) and not any(policy.denies(question) for policy in known)


def policies_of_role(name: str) -> tuple[list[Policy], list[Policy]]:
    """A role's inline and managed policies, and its permissions boundary: none or one."""
    iam = iam_backends[ACCOUNT]["aws"]
    role = iam.get_role(name)
    inline = [Policy.parse(_unquoted(document)) for document in role.policies.values()]
    managed = [_in_force(policy) for policy in role.managed_policies.values()]
    boundary = role.permissions_boundary_arn
    return inline + managed, [_in_force(iam.managed_policies[boundary])] if boundary else []


def _in_force(managed: Any) -> Policy:
    """A managed policy's default version."""
    [document] = [version.document for version in managed.versions if version.is_default]
    return Policy.parse(_unquoted(document))


def _unquoted(document: Any) -> Any:
    return unquote(document) if isinstance(document, str) and document.startswith("%7B") else document


def _applies(statement: Mapping[str, Any], question: Question) -> bool:
    if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}:
        raise NotImplementedError(f"the stand-in does not evaluate {', '.join(unknown)} of a policy")
    return (
        _among(question.action.lower(), [each.lower() for each in _listed(statement["Action"])])
        and (question.resource is None or _among(question.resource, _listed(statement["Resource"])))
        and ("Principal" not in statement or _is_principal(statement["Principal"], question.principal))
        and all(_holds(operator, wanted, question.context) for operator, wanted in statement.get("Condition", {}).items())
    )


def _is_principal(wanted: Any, principal: str) -> bool:
    """A service's name, or anybody. Nobody in Verger's policies is named by ARN."""
    if wanted == "*" or wanted.get("AWS") == "*":
        return True
    return bool(principal) and principal in _listed(wanted.get("Service", []))


def _holds(operator: str, wanted: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """A condition block: each key has one of its values. A key that the request has not makes it false."""
    matches = OPERATORS.get(operator)
    if matches is None:
        raise NotImplementedError(f"the stand-in does not evaluate {operator}")
    lowered = {key.lower(): value for key, value in context.items()}
    return all(
        key.lower() in lowered and any(matches(lowered[key.lower()], str(value)) for value in _listed(values))
        for key, values in wanted.items()
    )


def _like(text: str, pattern: str) -> bool:
    """* for any text, ? for any character, as in IAM."""
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern), text, re.DOTALL) is not None


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
}


def _among(text: str, patterns: Iterable[str]) -> bool:
    return any(_like(text, pattern) for pattern in patterns)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
