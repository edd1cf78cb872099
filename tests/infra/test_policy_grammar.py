"""Every permission that we write means something, is written once, and is narrow or says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.infra.account import account
from tests.infra.deployed import statements
from tests.infra.reference import expand, formats, has_key, overlap


@dataclass(frozen=True)
class Statement:
    """A statement of a policy of ours. owner: the resource that holds it."""

    owner: str
    sid: str
    body: Any

    def __str__(self) -> str:
        return f"{self.owner}: {self.sid}"


def identity_statements() -> list[Statement]:
    """What roles and managed policies allow."""
    holders = [*account().all("AWS::IAM::Policy"), *account().all("AWS::IAM::ManagedPolicy")]
    return [
        Statement(f"{each.stack}/{each.logical_id}", body.get("Sid", ""), body)
        for each in holders
        for body in statements(each.properties["PolicyDocument"])
    ]


def keys_of(body: Any) -> set[str]:
    return {key for operator in body.get("Condition", {}).values() for key in operator}


def test_every_statement_says_by_its_name_what_it_is_for():
    assert [str(each) for each in identity_statements() if not re.fullmatch(r"[A-Z][A-Za-z]+", each.sid)] == []


def test_every_action_exists():
    assert [f"{each} {action}" for each in identity_statements() for action in each.body["Action"] if not expand(action)] == []


def fits(action: str, resource: str) -> bool:
    return resource == "*" if not formats(action) else any(overlap(arn, resource) for arn in formats(action))


def test_every_action_is_done_to_a_resource_of_its_statement():
    """One that takes no resource wants `*`; one that takes some wants an ARN of such a type."""
    wrong = [
        f"{each} {pattern}"
        for each in identity_statements()
        for pattern in each.body["Action"]
        if not any(fits(action, resource) for action in expand(pattern) for resource in each.body["Resource"])
    ]
    assert wrong == []


def test_every_resource_is_one_that_an_action_of_its_statement_is_done_to():
    wrong = [
        f"{each} {resource}"
        for each in identity_statements()
        for resource in each.body["Resource"]
        if not any(fits(action, resource) for pattern in each.body["Action"] for action in expand(pattern))
    ]
    assert wrong == []


def test_every_condition_is_on_a_key_that_requests_for_all_of_its_actions_carry():
    """A key that is never there makes a statement that never allows anything."""
    wrong = [
        f"{each} {action} {key}"
        for each in identity_statements()
        for key in keys_of(each.body)
        for pattern in each.body["Action"]
        for action in expand(pattern)
        if not has_key(action, key)
    ]
    assert wrong == []


def covers(pattern: str, other: str) -> bool:
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), other))


def shadows(one: Any, other: Any) -> bool:
    """Whether all that `other` allows is allowed by `one` already."""
    every = all(any(covers(mine, theirs) for mine in one[field]) for field in ("Action", "Resource") for theirs in other[field])
    return every and one.get("Condition", other.get("Condition")) == other.get("Condition")


def pairs() -> Iterator[tuple[Statement, Statement]]:
    ours = identity_statements()
    yield from ((one, other) for one in ours for other in ours if one.owner == other.owner and one is not other)


def test_no_statement_allows_only_what_another_one_does():
    assert [f"{other} is in {one}" for one, other in pairs() if shadows(one.body, other.body)] == []


def test_no_statement_says_a_thing_twice():
    wrong = [
        f"{each} {one}"
        for each in identity_statements()
        for field in ("Action", "Resource")
        for n, one in enumerate(each.body[field])
        if any(covers(other, one) for m, other in enumerate(each.body[field]) if m != n)
    ]
    assert wrong == []


def is_wide(body: Any) -> bool:
    """Whether it has a wildcard for actions, or holds for a resource whatever its name."""
    if any("*" in action for action in body["Action"]) or "*" in body["Resource"]:
        return True
    for arn in {arn for action in body["Action"] for arn in formats(action)}:
        placed = re.sub(
            r"\$\{(Partition|Region|Account)\}", lambda found: {"P": "aws", "R": "eu-west-1", "A": "111122223333"}[found[1][0]], arn
        )
        if any(covers(resource, re.sub(r"\$\{.*?\}", "anything", placed)) for resource in body["Resource"]):
            return True
    return False


def test_a_wide_statement_cannot_be_written_without_a_reason():
    from infra.policies import allow

    wide = [each for each in identity_statements() if is_wide(each.body)]
    assert wide
    for each in wide:
        with pytest.raises(ValueError, match=f"{each.sid} has a wildcard and no reason"):
            allow(each.sid, each.body["Action"], each.body["Resource"], each.body.get("Condition"))


def test_a_narrow_statement_needs_no_reason():
    from infra.policies import allow

    for each in identity_statements():
        if not is_wide(each.body):
            allow(each.sid, each.body["Action"], each.body["Resource"], each.body.get("Condition"))


def test_resource_policies_allow_nobody_from_elsewhere():
    """CDK writes those of buckets and keys: what they allow is for this account, and what is for everybody is a refusal."""
    documents = [
        *(each.properties["PolicyDocument"] for kind in ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy") for each in account().all(kind)),
        *(each.properties["KeyPolicy"] for each in account().all("AWS::KMS::Key")),
    ]
    allowing = [body for document in documents for body in statements(document) if body["Effect"] == "Allow"]
    assert allowing
    for body in allowing:
        (principal,) = body["Principal"].values()
        service = "Service" in body["Principal"] and "Condition" in body
        assert service or f"::{account().number}:" in principal, json.dumps(body)
