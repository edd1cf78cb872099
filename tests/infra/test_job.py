"""The application, its role, its files, and the command that runs it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest

from infra.environments import RETENTION_DAYS, Environment
from job import contract
from job.releases import RELEASES
from job.submission import PYTHON, Deployment, run_arguments, start_job_run
from tests.infra.assembly import synthesise
from tests.infra.conftest import NETWORK, PHOTOS

LIMIT = 4096  # characters of a standard SSM parameter, and bytes of an output's value (CloudFormation quotas)
SPARE = 200  # for names as long as they may be
URI = re.compile(r"s3://cdk-hnb659fds-assets-111122223333-eu-west-1/artifacts/([a-z0-9]+)/([0-9a-f]{64})\.(\w+)")


def application(assembly: Any, stack: str) -> Any:
    return assembly.account.one(stack, "AWS::EMRServerless::Application").properties


def outputs(assembly: Any, stack: str) -> dict[str, str]:
    account = assembly.account
    return {name: account.resolve(output["Value"], stack) for name, output in account.templates[stack]["Outputs"].items()}


def deployment(assembly: Any, stack: str) -> Deployment:
    return Deployment.from_json(assembly.account.one(stack, "AWS::SSM::Parameter").properties["Value"])


def properties(assembly: Any, stack: str) -> dict[str, str]:
    (defaults,) = application(assembly, stack)["RuntimeConfiguration"]
    assert defaults["Classification"] == "spark-defaults"
    return dict(defaults["Properties"])


def test_the_application_is_what_the_environment_asks_for(assembly, environment):
    found = application(assembly, f"Verger-{environment.name}-Job")
    assert (found["Type"], found["ReleaseLabel"]) == ("SPARK", environment.release.label)
    assert found["Architecture"] == environment.architecture.upper()
    assert found["AutoStartConfiguration"] == {"Enabled": True}
    assert found["AutoStopConfiguration"] == {"Enabled": True, "IdleTimeoutMinutes": environment.idle_minutes}
    assert found["SchedulerConfiguration"] == {"MaxConcurrentRuns": environment.concurrent_runs, "QueueTimeoutMinutes": 720}


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.label)
@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_release_runs_on_each_of_its_architectures(variant, release, architecture):
    found = application(variant(release=release, architecture=architecture), "Verger-one-Job")
    assert (found["ReleaseLabel"], found["Architecture"]) == (release.label, {"arm64": "ARM64", "x86_64": "X86_64"}[architecture])


def test_the_maximum_capacity_has_room_for_as_many_workers_as_its_vcpus(everything, full):
    """64 vCPUs are 16 drivers of 16 GB, or 8 executors of 32 GB and 100 GB of disk, or a mixture."""
    assert application(everything, "Verger-full-Job")["MaximumCapacity"] == {"Cpu": "64 vCPU", "Memory": "256 GB", "Disk": "800 GB"}
    run = full.driver.disk_gb + full.max_executors * full.executor.disk_gb
    assert run <= 800


def test_no_capacity_is_paid_for_while_nothing_runs(assembly, environment):
    assert "InitialCapacity" not in application(assembly, f"Verger-{environment.name}-Job")


def test_logs_go_to_s3_to_cloudwatch_and_to_the_managed_store(everything):
    account = everything.account
    bucket = account.one("Verger-full-Storage", "AWS::S3::Bucket")
    monitoring = application(everything, "Verger-full-Job")["MonitoringConfiguration"]
    # No key here: who starts a run would need it, and the bucket encrypts with it anyway
    assert monitoring["S3MonitoringConfiguration"] == {"LogUri": f"s3://{bucket.name}/{contract.LOGS}/"}
    assert monitoring["ManagedPersistenceMonitoringConfiguration"] == {"Enabled": True}
    streamed = monitoring["CloudWatchLoggingConfiguration"]
    assert (streamed["Enabled"], streamed["LogGroupName"]) == (True, account.one("Verger-full-Job", "AWS::Logs::LogGroup").name)
    assert {each["Key"] for each in streamed["LogTypeMap"]} == {"SPARK_DRIVER", "SPARK_EXECUTOR"}


def test_every_retention_that_an_environment_may_choose_is_the_log_groups(node, tmp_path):  # noqa: ARG001  asked for its skip
    environments = {f"d{days}": Environment(name=f"d{days}", retention_days=days) for days in RETENTION_DAYS}
    account = synthesise(tmp_path, environments=environments).account
    found = {each.stack: each.properties["RetentionInDays"] for each in account.all("AWS::Logs::LogGroup")}
    assert found == {f"Verger-d{days}-Job": days for days in RETENTION_DAYS}


def test_log_lines_are_kept_for_the_retention(assembly, environment):
    stack = f"Verger-{environment.name}-Job"
    assert assembly.account.one(stack, "AWS::Logs::LogGroup").properties["RetentionInDays"] == environment.retention_days
    (group,) = [each for each in assembly.account.templates[stack]["Resources"].values() if each["Type"] == "AWS::Logs::LogGroup"]
    assert group["DeletionPolicy"] == ("Delete" if environment.disposable else "Retain")


def test_runs_share_interpreter_sizes_and_limits(everything, full):
    found = properties(everything, "Verger-full-Job")
    interpreters = [name for name in found if "PYSPARK" in name]
    assert {found[name] for name in interpreters} == {PYTHON}
    assert {name.partition("Env.")[0] for name in interpreters} == {"spark.emr-serverless.driver", "spark.executor"}
    for name, worker in (("driver", full.driver), ("executor", full.executor)):
        heap, overhead = (int(found[f"spark.{name}.{part}"].removesuffix("g")) for part in ("memory", "memoryOverhead"))
        assert (heap + overhead, found[f"spark.{name}.cores"]) == (worker.memory_gb, str(worker.vcpus))
        assert found[f"spark.emr-serverless.{name}.disk"] == f"{worker.disk_gb}G"
    assert found["spark.dynamicAllocation.maxExecutors"] == str(full.max_executors)
    assert found["spark.default.parallelism"] == str(full.max_executors * full.executor.vcpus)


def test_there_is_no_vpc_unless_the_environment_has_subnets(assembly, everything, environment):
    assert "NetworkConfiguration" not in application(assembly, f"Verger-{environment.name}-Job")
    assert application(everything, "Verger-full-Job")["NetworkConfiguration"] == {
        "SubnetIds": list(NETWORK["subnets"]),
        "SecurityGroupIds": list(NETWORK["security_groups"]),
    }
    assert not [each for each in assembly.account.resources if each.type.startswith("AWS::EC2")]


def test_only_emr_serverless_for_this_application_assumes_the_role(assembly, environment):
    stack = f"Verger-{environment.name}-Job"
    trust = assembly.account.one(stack, "AWS::IAM::Role").properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust == [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "emr-serverless.amazonaws.com"},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": "111122223333"},
                "ArnLike": {"aws:SourceArn": assembly.account.one(stack, "AWS::EMRServerless::Application").arn},
            },
        }
    ]


def test_more_images_may_be_read_and_nothing_else_done_where_they_are(everything, assembly):
    statements = everything.account.one("Verger-full-Job", "AWS::IAM::Policy").properties["PolicyDocument"]["Statement"]
    granted = {(each["Action"], each["Resource"]) for each in statements if PHOTOS in str(each["Resource"])}
    assert granted == {("s3:ListBucket", PHOTOS), ("s3:GetObject", f"{PHOTOS}/*")}
    assert PHOTOS not in json.dumps(assembly.account.templates)


def test_every_file_of_a_run_has_its_digest_for_a_key(assembly, environment):
    found = deployment(assembly, f"Verger-{environment.name}-Job")
    matches = [URI.fullmatch(uri) for uri in (found.entry_point, found.job_package, found.model, found.environment_archive)]
    assert [match and (match[1], match[3]) for match in matches] == [(environment.name, kind) for kind in ("py", "zip", "zip", "tgz")]
    published = set(assembly.assets(f"Verger-{environment.name}-Job").values())
    assert {
        uri.partition("eu-west-1/")[2] for uri in (found.entry_point, found.job_package, found.model, found.environment_archive)
    } <= published


def test_everything_in_the_parameter_is_of_this_deployment(assembly, environment):
    stack, account = f"Verger-{environment.name}-Job", assembly.account
    found = deployment(assembly, stack)
    application_ = account.one(stack, "AWS::EMRServerless::Application")
    assert found.application_id == application_.arn.rpartition("/")[2]
    assert found.job_role_arn == account.one(stack, "AWS::IAM::Role").arn
    assert found.bucket == account.one(f"Verger-{environment.name}-Storage", "AWS::S3::Bucket").name
    assert (found.environment, found.region, found.timeout_minutes) == (environment.name, account.region, environment.timeout_minutes)
    assert {**properties(assembly, stack), **found.properties} == {**found.properties}, "a run says all that the application does"
    assert account.one(stack, "AWS::SSM::Parameter").properties["Name"] == f"/verger/{environment.name}/deployment"


def test_outputs_are_what_the_parameter_says(assembly, environment):
    stack = f"Verger-{environment.name}-Job"
    found, told = deployment(assembly, stack), outputs(assembly, stack)
    assert {name: told[name] for name in told if not name.startswith(("Publish", "Artifacts"))} == {
        "ApplicationId": found.application_id,
        "JobRoleArn": found.job_role_arn,
        "BucketName": found.bucket,
        "EntryPointUri": found.entry_point,
        "JobPackageUri": found.job_package,
        "ModelUri": found.model,
        "EnvironmentUri": found.environment_archive,
        "ParameterName": f"/verger/{environment.name}/deployment",
        "Region": found.region,
        "StartJobRun": told["StartJobRun"],
    }


def request_of(command: str) -> tuple[str, dict[str, Any]]:
    """The region and the request that the AWS CLI would make of a command line."""
    aws, service, verb, *words = shlex.split(command)
    assert (aws, service, verb) == ("aws", "emr-serverless", "start-job-run")
    flags = {flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)}
    region = flags.pop("region")
    typed: dict[str, Any] = {
        **flags,
        **{name: json.loads(flags[name]) for name in ("job-driver", "tags", "retry-policy")},
        "execution-timeout-minutes": int(flags["execution-timeout-minutes"]),
    }
    return region, {re.sub(r"-(\w)", lambda found: found[1].upper(), flag): value for flag, value in typed.items()}


def test_the_command_that_the_stack_prints_is_the_one_that_tools_build(assembly, environment):
    stack = f"Verger-{environment.name}-Job"
    found = deployment(assembly, stack)
    region, request = request_of(outputs(assembly, stack)["StartJobRun"])
    assert region == found.region
    assert request == start_job_run(found, run_arguments(found, results="first-run"), name="first-run")


def test_parameter_and_command_fit_where_they_are_kept(everything, full):
    longest = outputs(everything, f"Verger-{full.name}-Job")["StartJobRun"]
    value = everything.account.one(f"Verger-{full.name}-Job", "AWS::SSM::Parameter").properties["Value"]
    assert max(len(longest), len(value)) + SPARE < LIMIT


def test_what_has_placeholders_cannot_be_deployed(assembly, environment):
    """CloudFormation asks for a parameter without a default, and this one takes a single word."""
    template = assembly.account.templates[f"Verger-{environment.name}-Job"]
    (block,) = [each for name, each in template["Parameters"].items() if name != "BootstrapVersion"]
    assert "Default" not in block
    assert "make model" in block["Description"]
    assert f"make environment ENV={environment.name}" in block["Description"]


def test_another_run_size_is_another_maximum_and_nothing_but_sizes(variant):
    """The properties that a run pins follow the environment's numbers."""
    one = deployment(variant(), "Verger-one-Job").spark
    two = deployment(variant(max_executors=2), "Verger-one-Job").spark
    assert {name for name in one if one[name] != two[name]} == {
        "spark.dynamicAllocation.initialExecutors",
        "spark.dynamicAllocation.maxExecutors",
        "spark.default.parallelism",
    }
    assert replace(deployment(variant(), "Verger-one-Job"), spark=two) == deployment(variant(max_executors=2), "Verger-one-Job")
