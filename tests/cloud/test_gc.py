"""Old artifacts go by `make gc`, once nothing has named them for a month, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.workspace import REPOSITORY
from tests.cloud.account import Account

BUCKET = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
LATER = Path(__file__).with_name("later.cjs")
ISOLATED = "aws-cdk:isolated"


def gc(account: Account, *, days: int) -> None:
    """As the workflow does it, so many days from now."""
    target = ["make", "-o", "node_modules/.ready", "-o", ".venv/.ready", "gc", "CONFIRM=false"]
    account.aws.run(target, cwd=REPOSITORY, more={"NODE_OPTIONS": f"--require {LATER}", "DAYS_LATER": str(days)})


def named(account: Account) -> set[str]:
    """Keys of the four artifacts of the deployment."""
    found = account.deployment()
    uris = (found.entry_point, found.job_package, found.model, found.environment_archive)
    return {urlsplit(uri).path.removeprefix("/") for uri in uris}


def package(account: Account) -> str:
    return urlsplit(account.deployment().job_package).path.removeprefix("/")


def kept(account: Account) -> set[str]:
    return {each["Key"] for each in account.aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]}


def isolated(account: Account) -> set[str]:
    """Keys that `cdk gc` has tagged, for deletion in a month."""
    s3 = account.aws.client("s3")
    tags = {key: s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] for key in kept(account)}
    return {key for key, found in tags.items() if ISOLATED in {tag["Key"] for tag in found}}


@pytest.fixture
def replaced(account: Account) -> str:
    """The key of a job package that was deployed, and then another one."""
    account.deploy("dev")
    before = package(account)
    with (account.workspace / "job" / "contract.py").open("a") as code:
        code.write("# one byte more\n")
    account.deploy("dev")
    assert package(account) != before
    return before


def test_what_was_replaced_goes_a_month_after_it_was_found_and_can_be_brought_back(account: Account, replaced: str) -> None:
    someone_elses = "0" * 64
    template = f'{{"Resources": {{"Topic": {{"Type": "AWS::SNS::Topic", "Properties": {{"DisplayName": "{someone_elses}.zip"}}}}}}}}'
    account.aws.client("cloudformation").create_stack(StackName="another-app", TemplateBody=template)
    account.aws.client("s3").put_object(Bucket=BUCKET, Key=f"{someone_elses}.zip", Body=b"in use")
    in_use = named(account) | {f"{someone_elses}.zip"}

    gc(account, days=2)
    assert replaced in isolated(account)
    assert not isolated(account) & in_use
    gc(account, days=31)
    assert replaced in kept(account)
    gc(account, days=33)
    assert replaced not in kept(account)
    assert kept(account) >= in_use

    versions = account.aws.client("s3").list_object_versions(Bucket=BUCKET, Prefix=replaced)
    assert [each["Key"] for each in versions["Versions"]] == [replaced]


def test_what_a_deployment_takes_up_again_stays(account: Account, replaced: str) -> None:
    gc(account, days=2)
    assert replaced in isolated(account)
    code = account.workspace / "job" / "contract.py"
    code.write_text(code.read_text().removesuffix("# one byte more\n"))
    account.deploy("dev")
    assert package(account) == replaced
    gc(account, days=33)
    assert replaced in kept(account)
    assert replaced not in isolated(account)
