"""Each statement of the job's role is needed: without it the run fails, and the reason is access denied.

So is each part of one, an action on a resource with one value of a condition: runs that succeed ask for it. They are tried in prod,
whose role has all that dev's has, and those of a key and of another bucket of images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any
from urllib.parse import unquote

import pytest

from bootstrap.rehearsal.policies import Policy, Question
from bootstrap.submit import Order, request_of
from job.contract import FLATBUFFER, MODEL_CARD
from tests.cloud.account import Account
from tests.cloud.conftest import TINY

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
OWN = "artifacts/tiny/"  # where an operator put a network


@pytest.fixture(scope="module")
def ready(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """prod, with a few images in its bucket and in another, beside dev."""
    environments = deployed.workspace / "infra" / "environments.toml"
    environments.write_text(environments.read_text().replace("[prod]", f'[prod]\nimages_bucket_arn = "arn:aws:s3:::{PHOTOS}"'))
    deployed.deploy("prod")
    prod, pictures = replace(deployed, environment="prod"), tmp_path_factory.mktemp("images") / "pictures"
    prod.put_pictures(pictures, count=1)
    for name in (MODEL_CARD, FLATBUFFER):
        prod.put(f"{OWN}{name}", (TINY / name).read_bytes())
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


@pytest.fixture(scope="module")
def runs(ready: Account) -> list[str]:
    """Two that succeed: the one whose command is pasted, and one of images in the other bucket, by an operator's network, as submitted."""
    deployment = ready.deployment()
    words = ("--images", f"s3://{PHOTOS}/fruit/", "--model", f"s3://{deployment.bucket}/{OWN}")
    submitted = request_of(Order(ready.environment, "photos", attempts=1, arguments=words), deployment)
    started = [ready.start(), ready.start(**submitted, clientToken="photos")]
    for run_id in started:
        assert ready.ended(run_id)["state"] == "SUCCESS", ready.log(run_id)
    return started


def test_all_that_the_role_allows_is_used_by_runs_that_succeed(ready: Account, runs: list[str]) -> None:
    assert unused(_policy(ready)[1], [question for run_id in runs for question in ready.granted(run_id)]) == []


def test_all_that_a_submitted_run_s_own_policy_allows_is_used_by_it(ready: Account, runs: list[str]) -> None:
    own = ready.run(runs[-1])["executionIamPolicy"]["policy"]
    assert unused(json.loads(own), ready.granted(runs[-1])) == []


def unused(policy: dict[str, Any], granted: list[Question]) -> list[dict[str, Any]]:
    """The parts of a policy without which all that was granted would be granted as well."""
    parts = [part for statement in policy["Statement"] for part in apart(statement)]
    parsed = [Policy.parse({"Statement": part}) for part in parts]
    allowing = [[number for number, part in enumerate(parsed) if part.allows(question)] for question in granted]
    used = {numbers[0] for numbers in allowing if len(numbers) == 1}
    return [part for number, part in enumerate(parts) if number not in used]


def apart(statement: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a statement allows, one by one: an action on a resource with one value of each condition."""
    conditions = [(operator, key) for operator, keys in statement.get("Condition", {}).items() for key in keys]
    values = [listed(statement["Condition"][operator][key]) for operator, key in conditions]
    for action, resource, *chosen in product(listed(statement["Action"]), listed(statement["Resource"]), *values):
        condition: dict[str, dict[str, Any]] = {}
        for (operator, key), value in zip(conditions, chosen, strict=True):
            condition.setdefault(operator, {})[key] = value
        yield statement | {"Action": action, "Resource": resource, "Condition": condition}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
