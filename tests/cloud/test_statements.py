"""Each statement of the job's role is needed: without it the run fails, and the reason is access denied.

They are tried in prod, whose role has all that dev's has, and its key's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cloud.account import Account

KEY = "UseKey"  # of a bucket with a key of its own, which dev's has not

# What each statement is for. The order is that of a run: the first ones fail before Spark starts
STATEMENTS = {
    "FindLogGroup": "DescribeLogGroups",
    "StreamLogs": "DescribeLogStreams",
    KEY: "kms:",
    "ReadPublishedArtifacts": "s3:GetObject",
    "ListBucket": "s3:ListBucket",
    "Read": "s3:GetObject",
    "WriteResults": "s3:",
    "WriteLogs": "s3:PutObject",
}


@pytest.fixture(scope="module")
def ready(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """prod, with a few images in its bucket, beside dev."""
    deployed.deploy("prod")
    prod = replace(deployed, environment="prod")
    prod.put_pictures(tmp_path_factory.mktemp("images") / "pictures", count=1)
    return prod


def test_all_statements_are_tried(ready: Account) -> None:
    assert _actions(ready).keys() == STATEMENTS.keys()


def test_dev_has_those_of_prod_but_for_the_key(deployed: Account, ready: Account) -> None:
    prod = _actions(ready)
    del prod[KEY]
    assert _actions(deployed) == prod


def test_with_all_of_them_the_run_succeeds(ready: Account) -> None:
    assert ready.ended(ready.start())["state"] == "SUCCESS"


@pytest.mark.parametrize("sid", STATEMENTS)
def test_without_a_statement_the_run_is_denied(ready: Account, sid: str) -> None:
    with without(ready, sid):
        run_id = ready.start()
        run = ready.ended(run_id)
    assert run["state"] == "FAILED"
    said = run["stateDetails"] + ready.log(run_id)
    assert "AccessDenied" in said or "access denied" in said
    assert STATEMENTS[sid] in said


@contextmanager
def without(account: Account, sid: str) -> Iterator[None]:
    """The role's policy with a statement less."""
    iam = account.aws.client("iam")
    role = account.deployment().job_role_arn.rpartition("/")[2]
    name, document = _policy(account)
    kept = [statement for statement in document["Statement"] if statement["Sid"] != sid]
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document | {"Statement": kept}))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _policy(account: Account) -> tuple[str, dict[str, Any]]:
    iam = account.aws.client("iam")
    role = account.deployment().job_role_arn.rpartition("/")[2]
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return name, json.loads(unquote(document)) if isinstance(document, str) else document


def _actions(account: Account) -> dict[str, Any]:
    """What each statement allows, by its name."""
    return {each["Sid"]: each["Action"] for each in _policy(account)[1]["Statement"]}
