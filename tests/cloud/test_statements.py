"""Each statement of the job's role is needed: without it the run fails, and the reason is access denied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from bootstrap.pictures import make_pictures
from tests.cloud.account import Account

# What each statement is for. The order is that of a run: the first ones fail before Spark starts
STATEMENTS = {
    "FindLogGroup": "DescribeLogGroups",
    "StreamLogs": "DescribeLogStreams",
    "ReadPublishedArtifacts": "s3:GetObject",
    "ListBucket": "s3:ListBucket",
    "Read": "s3:GetObject",
    "WriteResults": "s3:",
    "WriteLogs": "s3:PutObject",
}


@pytest.fixture(scope="module")
def ready(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """dev with a few images in its bucket."""
    deployed.put_pictures(tmp_path_factory.mktemp("images") / "pictures", count=1)
    return deployed


def test_all_statements_are_tried(ready: Account) -> None:
    _, document = _policy(ready)
    assert {each["Sid"] for each in document["Statement"]} == STATEMENTS.keys()


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


@pytest.fixture
def prod(account: Account) -> Account:
    """prod, with its own key, and a picture."""
    account.deploy("prod")
    return replace(account, environment="prod")


def test_a_run_in_a_bucket_with_a_key_needs_the_key(prod: Account, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures", count=1)
    prod.put("images/Apple/1.jpg", next((tmp_path / "pictures").rglob("*.jpg")).read_bytes())
    with without(prod, "UseKey"):
        run_id = prod.start()
        assert prod.ended(run_id)["state"] == "FAILED"
    assert "kms:" in prod.ended(run_id)["stateDetails"] + prod.log(run_id)
