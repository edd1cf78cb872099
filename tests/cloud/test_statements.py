"""Each statement of the job's role is needed: without it the run fails, and the reason is access denied.

They are tried in prod, whose role has all that dev's has, and those of a key and of another bucket of images.
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
PHOTOS = "photos-of-others"

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
MORE = {"ListMoreImages": "s3:ListBucket", "ReadMoreImages": "s3:GetObject"}  # of the other bucket


@pytest.fixture(scope="module")
def ready(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """prod, with a few images in its bucket and in another, beside dev."""
    environments = deployed.workspace / "infra" / "environments.toml"
    environments.write_text(environments.read_text().replace("[prod]", f'[prod]\nimages_bucket_arn = "arn:aws:s3:::{PHOTOS}"'))
    deployed.deploy("prod")
    prod, pictures = replace(deployed, environment="prod"), tmp_path_factory.mktemp("images") / "pictures"
    prod.put_pictures(pictures, count=1)
    s3 = prod.aws.client("s3")
    s3.create_bucket(Bucket=PHOTOS)
    for file in pictures.glob("*/*.*"):
        s3.put_object(Bucket=PHOTOS, Key=f"fruit/{file.relative_to(pictures).as_posix()}", Body=file.read_bytes())
    return prod


def test_all_statements_are_tried(ready: Account) -> None:
    assert _actions(ready).keys() == STATEMENTS.keys() | MORE.keys()


def test_dev_has_those_of_prod_but_for_the_key_and_the_other_bucket(deployed: Account, ready: Account) -> None:
    prod = _actions(ready)
    assert _actions(deployed) == {sid: actions for sid, actions in prod.items() if sid != KEY and sid not in MORE}


def test_with_all_of_them_the_run_succeeds(ready: Account) -> None:
    assert ready.ended(ready.start())["state"] == "SUCCESS"


def test_with_all_of_them_a_run_of_images_in_the_other_bucket_succeeds(ready: Account) -> None:
    run_id = ready.start(images=f"s3://{PHOTOS}/fruit/", results="photos")
    assert ready.ended(run_id)["state"] == "SUCCESS", ready.log(run_id)


@pytest.mark.parametrize("sid", STATEMENTS)
def test_without_a_statement_the_run_is_denied(ready: Account, sid: str) -> None:
    assert STATEMENTS[sid] in denied(ready, without_statement=sid)


@pytest.mark.parametrize("sid", MORE)
def test_without_a_statement_for_the_other_bucket_a_run_of_images_there_is_denied(ready: Account, sid: str) -> None:
    said = denied(ready, without_statement=sid, images=f"s3://{PHOTOS}/fruit/", results="photos-denied")
    assert f"{PHOTOS}/" in said
    assert MORE[sid] in said


def denied(account: Account, *, without_statement: str, **run: str) -> str:
    """What is said of a run that fails for want of a permission."""
    with without(account, without_statement):
        run_id = account.start(**run)
        ended = account.ended(run_id)
    assert ended["state"] == "FAILED"
    said = ended["stateDetails"] + account.log(run_id)
    assert "AccessDenied" in said or "access denied" in said
    return str(said)


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
