"""What a run's own policy leaves of its role, asked of the evaluation that the rehearsal enforces policies with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bootstrap.errors import UsageError
from bootstrap.rehearsal.policies import Policy, Question, decide
from bootstrap.session_policy import MOST_LETTERS, session_policy
from job.submission import run_arguments
from tests.unit.test_submission import ASSETS, DEPLOYED

BUCKET = f"arn:aws:s3:::{DEPLOYED.bucket}"


def policy(*further: str, results: str = "first") -> Policy:
    return Policy.parse(session_policy(DEPLOYED, run_arguments(DEPLOYED, results=results, further=further)))


def may(made: Policy, action: str, resource: str, **context: str) -> bool:
    return decide(Question(f"s3:{action}", resource, {key.replace("_", ":"): value for key, value in context.items()}), [made])


@pytest.mark.parametrize(
    ("action", "key", "expected"),
    [
        ("GetObject", "images/a/1.jpg", True),
        ("PutObject", "images/a/1.jpg", False),
        ("DeleteObject", "images/a/1.jpg", False),
        ("GetObject", "results/first/features/part-0.parquet", True),
        ("PutObject", "results/first/.verger/owner", True),
        ("DeleteObject", "results/first/pca/model.json", True),
        ("GetObject", "results/second/pca/model.json", False),
        ("PutObject", "results/first-2/pca/model.json", False),
        ("PutObject", "results/summary.json", False),
        ("GetObject", "private/1", False),
        ("PutObject", f"logs/applications/{DEPLOYED.application_id}/jobs/1/SPARK_DRIVER/stdout.gz", True),
        ("PutObject", "logs/applications/another/jobs/1/SPARK_DRIVER/stdout.gz", False),
        ("GetObject", f"logs/applications/{DEPLOYED.application_id}/jobs/1/SPARK_DRIVER/stdout.gz", False),
    ],
)
def test_a_run_reads_its_images_and_writes_its_results_and_logs(action: str, key: str, expected: bool) -> None:
    assert may(policy(), action, f"{BUCKET}/{key}") is expected


@pytest.mark.parametrize(
    ("prefix", "expected"), [("images/", True), ("images/a", True), ("results/first/", True), ("results/second/", False), ("", False)]
)
def test_a_run_lists_its_images_and_its_results(prefix: str, expected: bool) -> None:
    assert may(policy(), "ListBucket", BUCKET, s3_prefix=prefix) is expected
    assert not may(policy(), "ListBucket", BUCKET)


def test_a_run_reads_the_artifacts_that_it_was_started_with_and_no_others() -> None:
    for name in ("1.py", "2.zip", "3.zip", "4.tgz"):
        assert may(policy(), "GetObject", f"{ASSETS.replace('s3://', 'arn:aws:s3:::')}/{name}")
    assert not may(policy(), "GetObject", f"{ASSETS.replace('s3://', 'arn:aws:s3:::')}/5.zip")


@pytest.mark.parametrize("action", ["logs:PutLogEvents", "logs:DescribeLogGroups", "kms:Decrypt", "kms:GenerateDataKey"])
def test_logs_and_keys_are_left_to_the_role(action: str) -> None:
    assert decide(Question(action, "arn:aws:any:us-east-1:123456789012:thing"), [policy()])


def test_folders_that_the_command_line_names_are_read_instead() -> None:
    made = policy("--images", "s3://photos/2024/", "--images=s3a://more", "--model", "s3://photos/models/7/model.tflite")
    assert may(made, "GetObject", "arn:aws:s3:::photos/2024/1.jpg")
    assert may(made, "GetObject", "arn:aws:s3:::more/1.jpg")
    assert may(made, "ListBucket", "arn:aws:s3:::more", s3_prefix="x")
    assert may(made, "GetObject", "arn:aws:s3:::photos/models/7/model.json"), "the card, which lies beside the flatbuffer"
    assert not may(made, "GetObject", f"{ASSETS.replace('s3://', 'arn:aws:s3:::')}/3.zip"), "the model that is deployed"
    assert not may(made, "GetObject", "arn:aws:s3:::photos/2025/1.jpg")
    assert not may(made, "GetObject", f"{BUCKET}/images/1.jpg")


@pytest.mark.parametrize("model", ["s3://photos/models/7.zip", "s3://photos/models/7.zip/"])
def test_a_zip_of_a_model_is_read_as_the_job_does(model: str) -> None:
    assert may(policy("--model", model), "GetObject", "arn:aws:s3:::photos/models/7.zip")


@pytest.mark.parametrize("images", ["2024.parquet", "features.parquet/", "inventory/daily/manifest.json"])
def test_images_of_a_list_are_read_wherever_the_role_may_and_written_nowhere_else(images: str) -> None:
    made = policy("--images", f"s3://photos/{images}")
    assert may(made, "GetObject", "arn:aws:s3:::anywhere/1.jpg")
    assert not may(made, "PutObject", "arn:aws:s3:::anywhere/1.jpg")
    assert not may(made, "PutObject", f"{BUCKET}/results/second/1")


def test_names_as_long_as_they_may_be_fit_a_request() -> None:
    """A bucket has 63 letters, a region 14, an asset's name the digits of its sha256."""
    asset = f"s3://cdk-hnb659fds-assets-123456789012-ap-southeast-1/artifacts/{'e' * 10}/{'a' * 64}"
    longest = replace(
        DEPLOYED,
        bucket="b" * 63,
        entry_point=f"{asset}.py",
        job_package=f"{asset}.zip",
        model=f"{asset}.zip",
        environment_archive=f"{asset}.tgz",
        application_id="0" * 16,
    )
    assert len(session_policy(longest, run_arguments(longest, results="r" * 128))) <= MOST_LETTERS


def test_more_folders_than_a_request_holds_are_refused() -> None:
    with pytest.raises(UsageError, match=f"{MOST_LETTERS:,} is the most"):
        policy(*(f"--images=s3://photos/{'x' * 50}-{number}/" for number in range(20)))


def test_a_policy_is_of_the_role_s_partition_and_in_letters_that_a_request_may_have() -> None:
    china = replace(DEPLOYED, job_role_arn="arn:aws-cn:iam::123456789012:role/job")
    text = session_policy(china, run_arguments(china, results="first", further=["--images", "s3://photos/りんご/"]))
    assert "arn:aws-cn:s3:::" in text
    assert "arn:aws:" not in text
    assert text.isascii()
    assert json.loads(text)["Version"] == "2012-10-17"
