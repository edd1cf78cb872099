"""`stage` and `doctor` as an operator runs them, against what the stacks make."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.doctor import examine
from bootstrap.pictures import make_pictures
from tests.cloud.account import Account
from tests.cloud.test_statements import without
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "pictures"
    make_pictures(folder, count=1)
    return folder


def bootstrap(account: Account, verb: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command that knows nothing but the stand-in."""
    command = [sys.executable, "-m", "bootstrap", verb, *arguments, "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, env=account.aws.environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout or "{}")


def stage(account: Account, folder: Path) -> tuple[int, dict[str, Any]]:
    return bootstrap(account, "stage", str(folder), f"s3://{account.deployment().bucket}/images/")


def unwell(account: Account) -> dict[str, str]:
    """The checks that are not ok. In this process, which knows nothing but the stand-in either."""
    return {check: finding.state for check, finding in examine(account.environment, region=None) if finding.state != "ok"}


def test_what_is_deployed_is_well_once_images_are_staged(deployed: Account, pictures: Path) -> None:
    code, said = bootstrap(deployed, "doctor", "--environment", "dev")
    assert (code, [check for check, each in said["findings"].items() if each["state"] != "ok"]) == (1, ["images"])
    code, first = stage(deployed, pictures)
    assert (code, first["uploaded"]) == (0, first["files"])
    code, again = stage(deployed, pictures)
    assert (code, again["uploaded"], again["skipped"]) == (0, 0, first["files"])
    code, said = bootstrap(deployed, "doctor", "--environment", "dev")
    assert (code, {each["state"] for each in said["findings"].values()}) == (0, {"ok"})


@pytest.fixture(scope="module")
def staged(deployed: Account, pictures: Path) -> Account:
    assert stage(deployed, pictures)[0] == 0
    return deployed


@pytest.mark.parametrize("sid", ["ListBucket", "Read", "WriteResults", "WriteLogs", "ReadPublishedArtifacts"])
def test_a_statement_that_the_role_lacks_is_found_without_a_run(staged: Account, sid: str) -> None:
    with without(staged, sid):
        assert unwell(staged) == {"role": "fail"}


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(("artifact", "check"), [("job_package", "code"), ("model", "model"), ("environment_archive", "packages")])
@pytest.mark.parametrize("spoil", [cut, None], ids=["half of it", "nothing"])
def test_an_artifact_that_is_missing_or_damaged_is_found_without_a_run(
    staged: Account, artifact: str, check: str, spoil: Callable[[bytes], bytes] | None
) -> None:
    s3 = staged.aws.client("s3")
    bucket, _, key = getattr(staged.deployment(), artifact).removeprefix("s3://").partition("/")
    whole = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=spoil(whole)) if spoil else s3.delete_object(Bucket=bucket, Key=key)
    try:
        assert unwell(staged) == {check: "fail"} | ({"interpreter": "warn"} if check == "packages" else {})
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=whole)


def test_a_bucket_with_a_key_of_its_own_takes_each_file_once_and_the_role_may_use_the_key(account: Account, pictures: Path) -> None:
    account.deploy("prod")
    prod = replace(account, environment="prod")
    code, first = stage(prod, pictures)
    assert (code, first["uploaded"]) == (0, first["files"])
    assert stage(prod, pictures)[1]["skipped"] == first["files"]
    assert unwell(prod) == {}
    with without(prod, "UseKey"):
        assert unwell(prod) == {"key": "fail"}
