"""The checks before a run, against moto's AWS in this process: all is well, or one thing is not."""

from __future__ import annotations

import io
import json
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.responses import IamResponse
from moto.servicequotas.models import ServiceQuotasBackend
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError, S3ValidationError

from bootstrap import doctor
from bootstrap.access import check_key, check_role, needs_of, through_s3
from bootstrap.checks import check_images, check_model, check_quota, run_vcpus
from bootstrap.cli import main
from bootstrap.doctor import examine, examine_deployment
from bootstrap.environment.archive import Link
from bootstrap.findings import Finding, ask
from bootstrap.locations import Location
from bootstrap.rehearsal import simulator
from job.submission import Deployment, parameter_name
from tests.unit.test_artifacts import MODEL, PACKAGE, archive, zipped

REGION, BUCKET, ROLE = "us-east-1", "verger-dev", "job"
OTHERS = "photos-of-others"
OWN = Location(BUCKET, "images")
ARGV = ["doctor", "--environment", "dev"]
ARM = {"lib/a.cpython-311-aarch64-linux-gnu.so": b""}
SCRIPT = b"print('here I am')\n"
CHECKS = [
    "region", "credentials", "deployment", "application", "quota", "code", "model", "packages", "interpreter", "images", "role", "key",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_way_to_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a test wants to talk to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@dataclass
class Account:
    """What is deployed, and the means to spoil it."""

    deployment: Deployment
    folder: Path
    application: dict[str, Any]
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = boto3.client(service, REGION)
        return self.clients[service]

    def put(self, key: str, body: bytes) -> None:
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def remove(self, key: str) -> None:
        self.client("s3").delete_object(Bucket=BUCKET, Key=key)

    def pack(self, contents: dict[str, bytes | Link]) -> None:
        self.put("artifacts/packages.tgz", archive(self.folder, contents))

    def allow(self, *statements: dict[str, Any]) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self.client("iam").put_role_policy(RoleName=ROLE, PolicyName="p", PolicyDocument=document)

    def encrypt(self, key: str) -> None:
        chosen = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
        rules = [{"ApplyServerSideEncryptionByDefault": chosen}]
        self.client("s3").put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": rules})


def statements(deployment: Deployment) -> list[dict[str, Any]]:
    """Just what a run needs, a statement each."""
    return [
        {"Effect": "Allow", "Action": action, "Resource": need.resource}
        | ({"Condition": {"StringEquals": dict(need.context)}} if need.context else {})
        for need in needs_of(deployment, OWN)
        for action in need.actions
    ]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account for all tests: making clients anew takes longer than the checks."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):  # moto does not answer for an endpoint of this machine
            patch.delenv(name)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):  # ours, and what moto's side of it looks at
            patch.setenv(name, REGION)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        patch.setattr(ServiceQuotasBackend, "get_service_quota", ServiceQuotasBackend.get_service_quota)  # put back afterwards
        patch.setattr(IamResponse, "simulate_principal_policy", None, raising=False)
        with mock_aws():
            simulator.install()
            made = Account(deployed(), tmp_path_factory.mktemp("cloud"), {})
            patch.setattr(botocore.client.BaseClient, "_make_api_call", knowing(made.application))
            made.client("s3").create_bucket(Bucket=BUCKET)
            made.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
            yield made


@pytest.fixture
def account(cloud: Account) -> Account:
    """An account in which a run would find all that it needs."""
    for found in cloud.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        cloud.remove(found["Key"])
    for key, body in {
        "artifacts/entry.py": SCRIPT,
        "artifacts/job.zip": PACKAGE,
        "artifacts/model.zip": MODEL,
        "images/apple/1.jpg": b"-",
    }.items():
        cloud.put(key, body)
    cloud.pack({"bin/python": Link("/usr/bin/python3.11"), **ARM})
    cloud.encrypt("")
    cloud.allow(*statements(cloud.deployment))
    cloud.application.clear()
    cloud.application.update(application())
    return cloud


def application() -> dict[str, Any]:
    return {
        "applicationId": "00f1",
        "state": "CREATED",
        "releaseLabel": "emr-spark-8.1.0",
        "architecture": "ARM64",
        "autoStartConfiguration": {"enabled": True},
        "maximumCapacity": {"cpu": "16 vCPU", "memory": "64 GB"},
    }


def deployed() -> Deployment:
    made = Deployment(
        environment="dev",
        region=REGION,
        application_id="00f1",
        job_role_arn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/{ROLE}",
        bucket=BUCKET,
        entry_point=f"s3://{BUCKET}/artifacts/entry.py",
        job_package=f"s3://{BUCKET}/artifacts/job.zip",
        model=f"s3://{BUCKET}/artifacts/model.zip",
        environment_archive=f"s3://{BUCKET}/artifacts/packages.tgz",
        timeout_minutes=60,
        spark={"spark.driver.cores": "2", "spark.executor.cores": "4", "spark.dynamicAllocation.maxExecutors": "3"},
    )
    boto3.client("ssm", REGION).put_parameter(Name=parameter_name("dev"), Value=made.to_json(), Type="String")
    return made


def knowing(application: dict[str, Any]) -> Callable[..., Any]:
    """boto3's calls, with this application for EMR Serverless: moto's have no architecture, and no release since 7."""
    call = botocore.client.BaseClient._make_api_call

    def called(client: Any, operation: str, parameters: Any) -> Any:
        if operation != "GetApplication":
            return call(client, operation, parameters)
        if not application:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no such application"}}, operation)
        return {"application": application}

    return called


# --- what is printed ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("account")
def test_where_all_is_well_each_check_is_a_row_and_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGV) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [[check, "ok"] for check in CHECKS]
    assert said.err == ""


def test_one_check_that_fails_is_exit_code_1_with_its_remedy_beside_it(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.remove("images/apple/1.jpg")
    assert main(ARGV) == 1
    said = capsys.readouterr()
    [row] = [line for line in said.out.splitlines() if line.startswith("images")]
    assert row.split()[1] == "fail"
    assert row.endswith("python -m bootstrap stage FOLDER s3://verger-dev/images/")
    assert said.err.splitlines()[0] == "error: dev: images: a run would fail"


def test_a_machine_reads_the_same(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.remove("images/apple/1.jpg")
    assert main([*ARGV, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["environment"] == "dev"
    assert list(said["findings"]) == CHECKS
    assert len(CHECKS) == doctor.ALL
    assert {check for check, each in said["findings"].items() if each["state"] != "ok"} == {"images"}
    assert all(bool(each["remedy"]) == (each["state"] != "ok") for each in said["findings"].values())


def test_images_that_lie_elsewhere_are_looked_for_there_and_asked_of_the_role_there(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.remove("images/apple/1.jpg")
    words = [*ARGV, "--json", "--images", f"s3://{OTHERS}/fruit/"]
    account.client("s3").create_bucket(Bucket=OTHERS)
    account.client("s3").put_object(Bucket=OTHERS, Key="fruit/1.jpg", Body=b"-")
    try:
        assert main(words) == 1
        found = json.loads(capsys.readouterr().out)["findings"]
        assert {check for check, each in found.items() if each["state"] != "ok"} == {"role"}
        assert f"s3:GetObject arn:aws:s3:::{OTHERS}/fruit/label/image.jpg" in found["role"]["found"]
        more = [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{OTHERS}{all_}" for all_ in ("", "/*")],
            }
        ]
        account.allow(*statements(account.deployment), *more)
        assert main(words) == 0
    finally:
        account.client("s3").delete_object(Bucket=OTHERS, Key="fruit/1.jpg")
    assert main(words) == 1


@pytest.mark.parametrize("images", ["photos/", "s3://photos/list.parquet"])
def test_images_that_are_no_folder_in_s3_are_a_usage_error(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--images", images]) == 2
    assert images in capsys.readouterr().err.splitlines()[0]


def test_a_name_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--environment", "../prod"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: --environment '../prod' is no environment's name"


# --- one thing that is not well -------------------------------------------------------------------------------------

SPOILT: dict[str, tuple[Callable[[Account], object], dict[str, str]]] = {
    "no image": (lambda account: account.remove("images/apple/1.jpg"), {"images": "fail"}),
    "no script": (lambda account: account.remove("artifacts/entry.py"), {"code": "fail"}),
    "no package": (lambda account: account.remove("artifacts/job.zip"), {"code": "fail"}),
    "another script": (lambda account: account.put("artifacts/entry.py", b"print('another')\n"), {"code": "fail"}),
    "half a package": (lambda account: account.put("artifacts/job.zip", PACKAGE[:100]), {"code": "fail"}),
    "no model": (lambda account: account.remove("artifacts/model.zip"), {"model": "fail"}),
    "half a model": (lambda account: account.put("artifacts/model.zip", MODEL[: len(MODEL) // 2]), {"model": "fail"}),
    "no packages": (lambda account: account.remove("artifacts/packages.tgz"), {"packages": "fail", "interpreter": "warn"}),
    "no archive": (lambda account: account.put("artifacts/packages.tgz", b"-"), {"packages": "fail", "interpreter": "warn"}),
    "no interpreter": (lambda account: account.pack({**ARM}), {"interpreter": "fail"}),
    "an interpreter that the release has not": (
        lambda account: account.pack({"bin/python": Link("/usr/bin/python3.12"), **ARM}),
        {"interpreter": "fail"},
    ),
    "code for another interpreter": (
        lambda account: account.pack({"bin/python": Link("/usr/bin/python3.9"), **ARM}),
        {"interpreter": "fail"},
    ),
    "code for another processor": (
        lambda account: account.pack({"bin/python": Link("/usr/bin/python3.11"), "a.cpython-311-x86_64-linux-gnu.so": b""}),
        {"interpreter": "fail"},
    ),
    "an application of another release": (lambda account: account.application.update(releaseLabel="emr-6.9.0"), {"interpreter": "warn"}),
    "an application on another architecture": (lambda account: account.application.update(architecture="X86_64"), {"interpreter": "fail"}),
    "an application that is gone": (
        lambda account: account.application.clear(),
        {"application": "fail", "quota": "warn", "interpreter": "warn"},
    ),
    "an application that was deleted": (lambda account: account.application.update(state="TERMINATED"), {"application": "fail"}),
    "an application that is being made": (lambda account: account.application.update(state="CREATING"), {"application": "warn"}),
    "an application that nobody starts": (
        lambda account: (
            account.application.update(state="STOPPED"),
            account.application.update(autoStartConfiguration={"enabled": False}),
        ),
        {"application": "fail"},
    ),
    "more capacity than quota": (
        lambda account: account.application.update(maximumCapacity={"cpu": "32 vCPU", "memory": "64 GB"}),
        {"quota": "warn"},
    ),
    "a key that the role may not use": (lambda account: account.encrypt("arn:aws:kms:us-east-1:1:key/k"), {"key": "fail"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_not_well_is_found_by_its_check_and_by_no_other(account: Account, name: str) -> None:
    spoil, wanted = SPOILT[name]
    spoil(account)
    findings = dict(examine_deployment(account.deployment))
    assert {check: each.state for check, each in findings.items() if each.state != "ok"} == wanted
    assert [check for check in wanted if not findings[check].remedy] == []


def test_each_permission_that_a_run_needs_is_missed_by_name(account: Account) -> None:
    needed = statements(account.deployment)
    assert len(needed) == 10
    for missing in needed:
        account.allow(*(each for each in needed if each is not missing))
        finding = check_role(account.deployment, OWN)
        assert finding.state == "fail"
        assert finding.found.endswith(f"may not {missing['Action']} {missing['Resource']}")
        assert "Verger-Boundary" in finding.remedy  # which the simulator asks as well, and CI does not deploy


def test_a_key_that_the_role_may_use_through_s3_is_well(account: Account) -> None:
    key = "arn:aws:kms:us-east-1:1:key/k"
    account.encrypt(key)
    through_s3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    use = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key, "Condition": through_s3}
    account.allow(*statements(account.deployment), use)
    assert check_key(account.deployment).state == "ok"


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")])
def test_s3_goes_by_the_name_that_it_has_in_its_partition(region: str, suffix: str) -> None:
    assert through_s3(region) == {"kms:ViaService": f"s3.{region}.{suffix}"}


def test_a_run_that_is_larger_than_the_quota_fails_and_one_that_fits_does_not(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.application.update(maximumCapacity={"cpu": "14 vCPU", "memory": "64 GB"})
    for quota, state in ((13.0, "fail"), (14.0, "ok")):
        monkeypatch.setitem(simulator.QUOTA, "Value", quota)
        assert check_quota(account.application, account.deployment).state == state


def test_a_run_of_a_release_s_own_sizes_takes_16_vcpus() -> None:
    assert run_vcpus({}) == 16
    assert run_vcpus({"spark.driver.cores": "2", "spark.executor.cores": "8", "spark.dynamicAllocation.maxExecutors": "10"}) == 82


def test_a_role_that_is_gone_fails(account: Account) -> None:
    gone = replace(account.deployment, job_role_arn=f"{account.deployment.job_role_arn}-gone")
    finding = ask(lambda: check_role(gone, OWN))
    assert (finding.state, finding.remedy) == ("fail", "deploy the environment again")


def test_random_weights_are_a_warning(account: Account) -> None:
    with zipfile.ZipFile(io.BytesIO(MODEL)) as model:
        files = {name: model.read(name) for name in model.namelist()}
    card = json.loads(files["model.json"]) | {"weights": "random:0"}
    account.put("artifacts/model.zip", zipped(files | {"model.json": json.dumps(card).encode()}))
    finding = check_model(account.deployment)
    assert (finding.state, finding.found.endswith("RANDOM WEIGHTS")) == ("warn", True)


def test_hidden_objects_and_marks_of_folders_are_no_images(account: Account) -> None:
    account.remove("images/apple/1.jpg")
    for key in ("images/", "images/apple/", "images/pear_$folder$", "images/.DS_Store", "images/__MACOSX/1.jpg", "images/a/.cache/1.jpg"):
        account.put(key, b"")
    assert check_images(OWN, region=REGION).state == "fail"
    account.put("images/_MG_1.jpg", b"-")
    assert check_images(OWN, region=REGION).state == "ok"
    account.put("_old/1.jpg", b"-")
    assert check_images(Location(BUCKET, "_old"), region=REGION).state == "ok", "the folder that is named may be called anything"


def test_many_hidden_objects_that_come_first_are_a_warning(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        account.put(f"images/__MACOSX/{number}.jpg", b"-")
    call = botocore.client.BaseClient._make_api_call
    monkeypatch.setattr(
        botocore.client.BaseClient, "_make_api_call", lambda client, operation, asked: call(client, operation, asked | {"MaxKeys": 2})
    )
    finding = check_images(OWN, region=REGION)
    assert (finding.state, finding.found) == ("warn", "the first 2 under s3://verger-dev/images/ are hidden")
    assert finding.remedy


# --- what AWS does not answer ---------------------------------------------------------------------------------------


Refusal = Callable[[str], Exception]


def asked(monkeypatch: pytest.MonkeyPatch, *, refuse: str = "", error: Refusal | None = None) -> tuple[set[str], dict[str, Finding]]:
    """The operations that an examination asks for, with one of them refused, and what it finds."""
    call, names = botocore.client.BaseClient._make_api_call, set[str]()

    def watched(client: Any, operation: str, parameters: Any) -> Any:
        names.add(operation)
        if error and operation == refuse:
            raise error(operation)
        return call(client, operation, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", watched)
        return names, dict(examine("dev", region=None))


def denied(operation: str) -> Exception:
    head = operation.startswith("Head")
    code, message = ("403", "Forbidden") if head else ("AccessDeniedException", "you are not\nauthorized")
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.usefixtures("account")
def test_a_question_that_one_may_not_ask_is_a_warning_and_without_the_parameter_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may start runs may not, for that, read artifacts or simulate roles."""
    operations, _ = asked(monkeypatch)
    assert operations > {"GetCallerIdentity", "GetParameter", "GetApplication", "GetServiceQuota", "SimulatePrincipalPolicy", "HeadObject"}
    for operation in sorted(operations):
        _, findings = asked(monkeypatch, refuse=operation, error=denied)
        unwell = [each for each in findings.values() if each.state != "ok"]
        assert {each.state for each in unwell} == {"fail" if operation == "GetParameter" else "warn"}, operation
        assert all("\n" not in each.found and each.remedy for each in unwell)


@pytest.mark.usefixtures("account")
def test_a_service_of_quotas_that_is_out_of_reach_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    _, findings = asked(monkeypatch, refuse="GetServiceQuota", error=lambda _: EndpointConnectionError(endpoint_url="https://quotas"))
    assert findings["quota"].state == "warn"


@pytest.mark.parametrize(
    "error", [RetriesExceededError(ConnectionResetError("reset\nby peer")), S3DownloadFailedError("changed"), S3ValidationError("short")]
)
@pytest.mark.usefixtures("account")
def test_a_download_that_is_broken_off_is_a_finding(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What downloads in parts has failures of its own, which are no kinds of boto3's."""
    _, findings = asked(monkeypatch, refuse="GetObject", error=lambda _: error)
    for check in ("code", "model", "packages"):
        assert findings[check].state == "fail"
        assert "broken off: " in findings[check].found
        assert "\n" not in findings[check].found
    assert "reset by peer" in findings["code"].found or not isinstance(error, RetriesExceededError)


def unknown(operation: str) -> Exception:
    return ClientError({"Error": {"Code": "InvalidClientTokenId", "Message": "no"}}, operation)


@pytest.mark.usefixtures("account")
def test_without_a_region_or_credentials_that_are_known_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, findings = asked(monkeypatch, refuse="GetCallerIdentity", error=unknown)
    assert operations == {"GetCallerIdentity"}
    assert [(check, each.state) for check, each in findings.items()] == [("region", "ok"), ("credentials", "fail")]
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    findings = dict(examine("dev", region=None))
    assert [(check, each.state, each.remedy) for check, each in findings.items()] == [("region", "fail", "--region, or set AWS_REGION")]


@pytest.mark.usefixtures("account")
def test_an_environment_that_is_not_deployed_is_said_to_be_none() -> None:
    findings = dict(examine("other", region=None))
    assert (list(findings)[-1], findings["deployment"].state) == ("deployment", "fail")
    assert "deploy" in findings["deployment"].remedy
