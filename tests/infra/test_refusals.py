"""What the app refuses: one line that says what is wrong, one that says what would be right, and no traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.infra.assembly import BIN, DEV_AND_PROD, FLAGS, synthesise
from tests.infra.test_artifacts import RELEASE, built_environment, built_model

pytestmark = pytest.mark.usefixtures("node")

# TOML of one environment -> how the two lines begin
ENVIRONMENTS = {
    "wrong release": ('release = "emr-6.6.0"', 'release = "emr-6.6.0"', "allowed: emr-spark-8.1.0, emr-7.14.0"),
    "wrong architecture": ('architecture = "sparc"', 'architecture = "sparc"', "allowed: arm64 or x86_64"),
    "memory": ("executor = { vcpus = 4, memory_gb = 7 }", "executor: memory_gb = 7", "allowed: a worker of 4 vCPUs has 8 to 30 GB"),
    "memory step": (
        "driver = { vcpus = 8, memory_gb = 30 }",
        "driver: memory_gb = 30",
        "allowed: a worker of 8 vCPUs has 16 to 60 GB, in steps of 4",
    ),
    "vcpus": ("driver = { vcpus = 3, memory_gb = 8 }", "driver: vcpus = 3", "allowed: a worker has 1, 2, 4, 8 or 16 vCPUs"),
    "disk": ("driver = { vcpus = 2, memory_gb = 8, disk_gb = 5 }", "driver: disk_gb = 5", "allowed: a worker has 20 to 200 GB"),
    "half a worker": ("driver = { vcpus = 2 }", "driver: memory_gb is missing", "give memory_gb"),
    "unknown field of a worker": ("driver = { cpus = 2, memory_gb = 8 }", "driver: cpus is no field", "allowed: vcpus, memory_gb, disk_gb"),
    "bucket": (
        'images_bucket_arn = "s3://photos"',
        'images_bucket_arn = "s3://photos"',
        "allowed: a bucket's ARN such as arn:aws:s3:::photos",
    ),
    "a folder of a bucket": ('images_bucket_arn = "arn:aws:s3:::photos/2024"', "images_bucket_arn = ", "allowed: a bucket's ARN"),
    "above the quota": (
        "max_vcpus = 64",
        "max_vcpus = 64",
        "allowed: at least 6, for a driver and an executor, and at most quota_vcpus = 16",
    ),
    "below one run": ("max_vcpus = 4", "max_vcpus = 4", "allowed: at least 6"),
    "executors beyond it": ("max_executors = 9", "max_executors = 9", "allowed: 2 + 9 x 4 vCPUs are above max_vcpus = 16"),
    "e-mail": ('alert_email = "team at example"', 'alert_email = "team at example"', "allowed: an address such as team@example.org"),
    "two lines of e-mail": ('alert_email = "a@b.c\\nd@e.f"', 'alert_email = "a@b.c\\nd@e.f"', "allowed: an address"),
    "unknown field": ("retention = 7", "retention is no field", "allowed: disposable, termination_protection"),
    "wrong type": ('retention_days = "7"', 'retention_days = "7"', "allowed: a whole number"),
    "a truth for a number": ("retention_days = true", "retention_days = true", "allowed: a whole number"),
    "a number for a truth": ("disposable = 1", "disposable = 1", "allowed: true or false"),
    "retention that CloudWatch lacks": ("retention_days = 8", "retention_days = 8", "allowed: one of 1, 3, 5, 7, 14"),
    "disposable and protected": ("disposable = true", "termination_protection = true", "allowed: false where disposable = true"),
    "a subnet alone": (
        'subnets = ["subnet-0123456789abcdef0"]',
        "security_groups = []",
        "allowed: subnets and security_groups go together",
    ),
    "no subnet": ('subnets = ["vpc-1"]\nsecurity_groups = ["sg-01234567"]', 'subnets = "vpc-1"', "allowed: ids such as subnet-"),
    "a text for a list": ('subnets = "subnet-01234567"', "subnets = ", "allowed: a list of texts"),
    "a budget for nobody": ("monthly_budget_usd = 10", "monthly_budget_usd = 10", "allowed: a budget needs alert_email"),
    "too many subnets": (
        f"subnets = {[f'subnet-{place:08}' for place in range(17)]}\nsecurity_groups = ['sg-01234567']",
        "subnets = 17",
        "allowed: 0 to 16",
    ),
    "a cost centre that no tag takes": ('cost_centre = "Bücher"', 'cost_centre = "Bücher"', "allowed: up to 256 letters"),
    "no cost centre": ('cost_centre = ""', 'cost_centre = ""', "allowed: up to 256 letters"),
    "no time": ("timeout_minutes = 0", "timeout_minutes = 0", "allowed: 5 to 10080"),
}
FILES = {
    "no TOML": ("[one", "error: environments.toml: Expected ']'", "it is TOML, a table for each environment"),
    "no table": ("one = 1", "error: environments.toml: one = 1", "allowed: tables, one for each environment"),
    "no environment": ("", "error: environments.toml: there is no environment in it", "it holds a table for each environment"),
    "a name that means all of them": ("[all]", "error: environments.toml: an environment cannot be called all", "it holds a table"),
    "a name that is cut": ("[abcdefghijk]", 'error: environment abcdefghijk: name = "abcdefghijk"', "allowed: a lower-case word"),
    "a name for no stack": ("[One-Two]", 'error: environment One-Two: name = "One-Two"', "allowed: a lower-case word"),
}
# context -> the two lines
CONTEXT = {
    "unknown environment": ({"environment": "staging"}, "environment 'staging' is unknown", "allowed: all, dev, prod"),
    "one of two unknown": ({"environment": "dev,staging"}, "environment 'staging' is unknown", "allowed: all, dev, prod"),
    "no environment": ({"environment": ""}, "environment '' is unknown", "allowed: all, dev, prod"),
    "flag": ({"placeholders": "yes"}, "placeholders = yes", "allowed: true or false"),
    "data that stays": ({"delete_data": "prod"}, "delete_data = prod: its data stays", "allowed: an environment with disposable = true"),
    "data of nobody": ({"delete_data": "true"}, "delete_data = true: no such environment", "allowed: dev, prod"),
    "data of one that is not chosen": (
        {"environment": "prod", "delete_data": "dev"},
        "delete_data = dev: it is not among the environments that are chosen",
        "choose it: -c environment=dev",
    ),
    "repository": ({"environment": "all", "repository": "verger"}, "repository = 'verger'", "allowed: OWNER/NAME"),
    **{
        f"repository {wrong}": ({"environment": "all", "repository": wrong}, f"repository = {wrong!r}", "allowed: OWNER/NAME or OWNER@ID/")
        for wrong in (
            *("example/*", "example/verger/x", "example/verger:environment:prod", "example@1/verger", "example/verger@2"),
            *("example@/verger@", "example@1/verger@", "example@a/verger@b", "example@1/verger@2x", "example@*/verger@*"),
            *("example@1@2/verger@3", "example@1/verger@٢", "exämple/verger", "example/verger\n"),
        )
    },
    "provider": (
        {"environment": "all", "repository": "a/b", "oidc_provider_arn": "github"},
        "oidc_provider_arn = 'github'",
        "allowed: the ARN of",
    ),
    "another provider": (
        {"environment": "all", "repository": "a/b", "oidc_provider_arn": "arn:aws:iam::111122223333:oidc-provider/gitlab.com"},
        "oidc_provider_arn = 'arn:aws:iam::111122223333:oidc-provider/gitlab.com'",
        "allowed: the ARN of",
    ),
    "repository of one environment": ({"environment": "dev", "repository": "verger"}, "repository = 'verger'", "allowed: OWNER/NAME"),
    "provider of one environment": (
        {"environment": "dev", "repository": "a/b", "oidc_provider_arn": "github"},
        "oidc_provider_arn = 'github'",
        "allowed: the ARN of",
    ),
    "provider without a repository": ({"oidc_provider_arn": "github"}, "oidc_provider_arn = 'github'", "allowed: the ARN of"),
    "no file of environments": ({"environments": "/nowhere/at/all.toml"}, "/nowhere/at/all.toml: No such file", "it holds a table"),
    "no folder to build in": ({"build": "cdk.json/build"}, "cdk.json/build/package: Not a directory", "-c build=DIR names a folder"),
}


@pytest.fixture
def refused(tmp_path, capsys):
    """refused(context) is the exit code and the two lines, without `error: ` and `hint: `."""

    def run(**context: str) -> tuple[int, str, str]:
        from aws_cdk import App

        from infra.app import main

        wanted = {**FLAGS, "environments": str(DEV_AND_PROD), "placeholders": "true", "build": str(tmp_path / "build"), **context}
        code = main(App(context=wanted, outdir=str(tmp_path / "out")))
        said = capsys.readouterr()
        error, hint = [line for line in said.err.splitlines() if not line.startswith("note: ")]
        assert (error[:7], hint[:6], said.out) == ("error: ", "hint: ", "")
        assert not list((tmp_path / "out").glob("*.template.json")), "nothing is written that could be deployed by mistake"
        return code, error[7:], hint[6:]

    return run


@pytest.mark.parametrize(("toml", "error", "hint"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_an_environment_that_cannot_be(refused, tmp_path, toml, error, hint):
    (tmp_path / "environments.toml").write_text(f"[one]\n{toml}\n")
    code, said, then = refused(environment="one", environments=str(tmp_path / "environments.toml"))
    assert code == 2
    assert said.removeprefix("environment one: ").startswith(error)
    assert said.startswith("environment one: ")
    assert then.startswith(hint)


@pytest.mark.parametrize(("toml", "error", "hint"), FILES.values(), ids=FILES)
def test_a_file_that_holds_no_environments(refused, tmp_path, toml, error, hint):
    (tmp_path / "environments.toml").write_text(toml)
    code, said, then = refused(environment="one", environments=str(tmp_path / "environments.toml"))
    assert (code, f"error: {said}"[: len(error)], then[: len(hint)]) == (2, error, hint)


@pytest.mark.parametrize(("context", "error", "hint"), CONTEXT.values(), ids=CONTEXT)
def test_a_command_line_that_cannot_be(refused, context, error, hint):
    code, said, then = refused(**context)
    assert (code, said[: len(error)], then[: len(hint)]) == (1 if "build" in context else 2, error, hint)


def test_an_architecture_that_the_release_lacks(refused, tmp_path, monkeypatch):
    """Both releases of the table have both, so the table loses one here."""
    from dataclasses import replace

    from infra import environments
    from job.releases import DEFAULT_RELEASE

    monkeypatch.setattr(environments, "release_of", lambda _label: replace(DEFAULT_RELEASE, architectures=("x86_64",)))
    (tmp_path / "environments.toml").write_text('[one]\nrelease = "emr-spark-8.1.0"\narchitecture = "arm64"\n')
    code, said, then = refused(environment="one", environments=str(tmp_path / "environments.toml"))
    assert (code, said) == (2, 'environment one: architecture = "arm64"')
    assert then == "allowed: emr-spark-8.1.0 runs on x86_64"


MODEL = "make model WEIGHTS=FILE.h5"
PACKAGES = "make environment ENV=dev"


def other_architecture(build: Path) -> None:
    card = build / "environment" / RELEASE / "environment.json"
    card.write_text(card.read_text().replace("arm64", "x86_64"))


@pytest.mark.parametrize(
    ("spoil", "error", "hint"),
    [
        (lambda build: (build / "model/model.tflite").unlink(), "no model in ", MODEL),
        (lambda build: (build / "model/model.json").unlink(), "no model in ", MODEL),
        (lambda build: (build / "model/model.json").write_text("{}"), "model.json: ", MODEL),
        (lambda build: (build / "model/model.tflite").write_bytes(b"tampered"), "model.tflite is not the file that its model card", MODEL),
        (lambda build: (build / f"environment/{RELEASE}/environment.tgz").unlink(), "no packages for emr-spark-8.1.0 on arm64", PACKAGES),
        (lambda build: (build / f"environment/{RELEASE}/environment.tgz").write_bytes(b"?"), "environment.tgz is not the file", PACKAGES),
        (
            lambda build: (build / f"environment/{RELEASE}/environment.json").write_text("[]"),
            "environment.json: EnvironmentCard has the fields",
            PACKAGES,
        ),
        (other_architecture, "environment.tgz is not the file that its card describes", PACKAGES),
    ],
    ids=["no model", "no card", "no model card", "tampered model", "no archive", "tampered archive", "no archive card", "architecture"],
)
def test_files_that_were_not_built_or_are_not_what_was(refused, tmp_path, spoil, error, hint):
    build = tmp_path / "build"
    built_model(build)
    built_environment(build)
    spoil(build)
    code, said, then = refused(environment="dev", placeholders="false")
    assert (code, then) == (1, hint)
    assert error in said


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk, as far as zips are concerned: half of one fits."""

    def full(archive: zipfile.ZipFile, _entry: object, _data: bytes) -> None:
        archive.fp.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)


@pytest.mark.parametrize(
    ("placeholders", "spoil", "error"),
    [
        ("true", lambda packed, _: (packed / "job.zip").mkdir(), "package/job.zip: Is a directory"),
        ("true", lambda packed, _: (packed / "placeholder-model.zip").mkdir(), "package/placeholder-model.zip: Is a directory"),
        ("false", lambda packed, _: (packed / "model.zip").mkdir(), "package/model.zip: Is a directory"),
        ("true", lambda _, monkeypatch: fill(monkeypatch), "build: No space left on device"),
    ],
    ids=["a folder for the code", "a folder for a placeholder", "a folder for the model", "a full disk"],
)
def test_files_that_cannot_be_written(refused, tmp_path, monkeypatch, placeholders, spoil, error):
    build = tmp_path / "build"
    if placeholders == "false":
        built_model(build)
        built_environment(build)
    (build / "package").mkdir(parents=True)
    spoil(build / "package", monkeypatch)
    code, said, then = refused(environment="dev", placeholders=placeholders)
    assert (code, then) == (1, "-c build=DIR names a folder to write to, with room in it")
    assert said.endswith(error)


def test_a_zip_that_cannot_be_written_leaves_the_one_before_as_it_was(refused, tmp_path, monkeypatch):
    packed = tmp_path / "build" / "package"
    packed.mkdir(parents=True)
    (packed / "job.zip").write_bytes(b"of an earlier synthesis")
    fill(monkeypatch)
    refused(environment="dev")
    assert {file.name: file.read_bytes() for file in packed.iterdir()} == {"job.zip": b"of an earlier synthesis"}


def test_a_network_that_was_never_trained_is_for_disposable_environments(refused, tmp_path):
    built_model(tmp_path / "build", weights="random:1")
    built_environment(tmp_path / "build")
    code, said, then = refused(environment="prod", placeholders="false")
    assert (code, then) == (1, MODEL)
    assert said.endswith("model.tflite has weights random:1, and prod is not disposable")
    assert synthesise(tmp_path / "dev", environment="dev", placeholders="false", build=str(tmp_path / "build")).account.templates


@pytest.mark.parametrize(
    ("context", "code", "error"),
    [
        ({"environment": "staging"}, 2, "error: environment 'staging' is unknown"),
        ({"environment": "dev"}, 1, "error: no model in "),
        ({"environment": "prod", "placeholders": "true", "delete_data": "prod"}, 2, "error: delete_data = prod"),
    ],
    ids=["environment", "artifacts", "data"],
)
def test_the_process_that_the_cli_starts_ends_with_two_lines(tmp_path, context, code, error):
    wanted = {**FLAGS, "environments": str(DEV_AND_PROD), "build": str(tmp_path / "build"), **context}
    surroundings = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "CDK_CONTEXT_JSON": json.dumps(wanted),
        "CDK_OUTDIR": str(tmp_path / "out"),
    }
    command = [sys.executable, "-O", "-m", "infra"]  # as cdk.json has it
    done = subprocess.run(command, cwd=REPOSITORY, env=surroundings, capture_output=True, text=True, check=False)
    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (code, "")
    assert first.startswith(error)
    assert second.startswith("hint: ")
