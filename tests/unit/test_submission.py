"""The request that starts a run, and the command that the stacks print."""

import json
import shlex
from dataclasses import replace

import pytest

from job.submission import ATTEMPTS, Deployment, command, parameter_name, run_arguments, start_job_run

ASSETS = "s3://cdk-hnb659fds-assets-123456789012-eu-west-1/artifacts/dev"
DEPLOYED = Deployment(
    environment="dev",
    region="eu-west-1",
    application_id="00f1r2u3i4t5",
    job_role_arn="arn:aws:iam::123456789012:role/Verger-dev-Job-JobRole",
    bucket="verger-dev-storage-bucket",
    entry_point=f"{ASSETS}/1.py",
    job_package=f"{ASSETS}/2.zip",
    model=f"{ASSETS}/3.zip",
    environment_archive=f"{ASSETS}/4.tgz",
    timeout_minutes=720,
    spark={"spark.executor.cores": "4"},
)
REQUEST = start_job_run(DEPLOYED, run_arguments(DEPLOYED, results="first"), name="first")


def confs(request):
    words = request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split(" ")
    assert words[::2] == ["--conf"] * (len(words) // 2), "each setting is one word"
    return dict(word.split("=", 1) for word in words[1::2])


def test_a_deployment_reads_back_from_its_parameter():
    assert Deployment.from_json(DEPLOYED.to_json()) == DEPLOYED


def test_the_parameter_is_one_line_and_fits_the_standard_tier():
    assert "\n" not in DEPLOYED.to_json()
    longest = dict.fromkeys(("entry_point", "job_package", "model", "environment_archive", "job_role_arn"), "x" * 200)
    assert len(replace(DEPLOYED, **longest).to_json()) < 4096


def test_text_that_is_no_deployment_is_said_to_be_none():
    with pytest.raises(ValueError, match="Deployment has the fields"):
        Deployment.from_json('{"environment": "dev"}')


def test_images_that_are_named_are_read_instead_of_the_buckets():
    further = ("--images", "s3://photos/2024/", "--components", "8")
    assert run_arguments(DEPLOYED, results="first").count("--images") == 1
    assert run_arguments(DEPLOYED, results="first", further=further).count("--images") == 1
    assert run_arguments(DEPLOYED, results="first", further=further)[-4:] == list(further)
    assert "--images" not in run_arguments(DEPLOYED, results="first", further=["--images=s3://photos/2024/"])


def test_a_run_pins_the_files_that_it_starts_with():
    pinned = confs(REQUEST)
    assert pinned["spark.submit.pyFiles"] == DEPLOYED.job_package
    arguments = REQUEST["jobDriver"]["sparkSubmit"]["entryPointArguments"]
    assert arguments[arguments.index("--model") + 1] == DEPLOYED.model


def test_executors_unpack_the_packages_and_no_model_which_the_driver_sends_them():
    assert confs(REQUEST)["spark.archives"] == f"{DEPLOYED.environment_archive}#environment"


def test_driver_and_executors_run_the_python_of_the_archive_in_the_deployments_region():
    pinned = confs(REQUEST)
    driver, executor = "spark.emr-serverless.driverEnv.", "spark.executorEnv."
    assert pinned[f"{driver}PYSPARK_DRIVER_PYTHON"] == pinned[f"{executor}PYSPARK_PYTHON"] == "./environment/bin/python"
    assert pinned[f"{driver}AWS_REGION"] == pinned[f"{executor}AWS_REGION"] == "eu-west-1"


def test_a_deployments_own_settings_come_last_and_win():
    pinned = confs(start_job_run(replace(DEPLOYED, spark={"spark.executorEnv.AWS_REGION": "us-east-1"}), [], name="x"))
    assert pinned["spark.executorEnv.AWS_REGION"] == "us-east-1"


def test_the_command_says_to_a_shell_what_the_request_says_to_boto3():
    words = shlex.split(command(REQUEST, region=DEPLOYED.region))
    assert words[:3] == ["aws", "emr-serverless", "start-job-run"]
    said = dict(zip(words[3::2], words[4::2], strict=True))
    assert said["--region"] == "eu-west-1"
    assert json.loads(said["--job-driver"]) == REQUEST["jobDriver"]
    assert (said["--application-id"], said["--execution-role-arn"]) == (REQUEST["applicationId"], REQUEST["executionRoleArn"])
    assert (said["--name"], said["--execution-timeout-minutes"]) == ("first", "720")
    assert json.loads(said["--tags"]) == REQUEST["tags"]
    assert json.loads(said["--retry-policy"]) == REQUEST["retryPolicy"]


def test_a_run_carries_the_tags_of_its_environment_and_its_name():
    assert REQUEST["tags"] == {"verger:project": "verger", "verger:environment": "dev", "verger:run": "first"}


def test_a_run_whose_driver_is_lost_is_tried_again_unless_it_is_said_otherwise():
    assert REQUEST["retryPolicy"]["maxAttempts"] == ATTEMPTS > 1
    assert start_job_run(DEPLOYED, [], name="once", attempts=1)["retryPolicy"] == {"maxAttempts": 1}


def test_an_argument_with_quotes_and_blanks_survives_the_shell():
    request = start_job_run(DEPLOYED, ["run", "--include", "it's *.jpg", "$HOME"], name="it's")
    words = shlex.split(command(request, region="eu-west-1"))
    driver = json.loads(words[words.index("--job-driver") + 1])
    assert driver["sparkSubmit"]["entryPointArguments"] == ["run", "--include", "it's *.jpg", "$HOME"]


def test_an_environments_parameter_has_a_name_that_tools_can_guess():
    assert parameter_name("prod") == "/verger/prod/deployment"
