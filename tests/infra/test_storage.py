"""The bucket: what it refuses, what it keeps, and when it lets go."""

from __future__ import annotations

from typing import Any

import pytest

from infra.environments import Environment
from job import contract

DEV, PROD = "Verger-dev-Storage", "Verger-prod-Storage"
HOLD_DATA = ("AWS::S3::Bucket", "AWS::KMS::Key")


def bucket(assembly: Any, stack: str) -> Any:
    return assembly.account.one(stack, "AWS::S3::Bucket").properties


def rules(assembly: Any, stack: str) -> dict[str, Any]:
    return {rule["Id"]: rule for rule in bucket(assembly, stack)["LifecycleConfiguration"]["Rules"]}


def removals(assembly: Any, stack: str) -> dict[str, set[str]]:
    """What becomes of resources that hold data when they go, or are replaced."""
    resources = assembly.account.templates[stack]["Resources"].values()
    return {each["Type"]: {each["DeletionPolicy"], each["UpdateReplacePolicy"]} for each in resources if each["Type"] in HOLD_DATA}


def encryption(assembly: Any, stack: str) -> Any:
    (rule,) = bucket(assembly, stack)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return rule


def test_an_environment_has_one_bucket(assembly, environment):
    account = assembly.account
    assert [each.stack for each in account.all("AWS::S3::Bucket")].count(f"Verger-{environment.name}-Storage") == 1
    assert {each.stack for each in account.all("AWS::S3::Bucket")} == {DEV, PROD}


def test_the_bucket_is_private_versioned_and_its_owners(assembly, environment):
    found = bucket(assembly, f"Verger-{environment.name}-Storage")
    shut = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    assert found["PublicAccessBlockConfiguration"] == dict.fromkeys(shut, True)
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert found["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "BucketName" not in found


@pytest.mark.parametrize(
    "insecure", [{"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": 1.2}}], ids=["plain", "old TLS"]
)
def test_everybody_is_denied_without_tls(assembly, environment, insecure):
    stack = f"Verger-{environment.name}-Storage"
    statements = assembly.account.one(stack, "AWS::S3::BucketPolicy").properties["PolicyDocument"]["Statement"]
    (denied,) = [each for each in statements if each["Effect"] == "Deny" and each["Condition"] == insecure]
    arn = assembly.account.one(stack, "AWS::S3::Bucket").arn
    assert (denied["Action"], denied["Principal"], denied["Resource"]) == ("s3:*", {"AWS": "*"}, [arn, f"{arn}/*"])


def test_s3_encrypts_with_its_own_key_by_default(assembly):
    assert encryption(assembly, DEV)["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert not [key for key in assembly.account.all("AWS::KMS::Key") if key.stack == DEV]


def test_a_customer_managed_key_rotates_and_is_asked_once_for_many_objects(assembly):
    key = assembly.account.one(PROD, "AWS::KMS::Key")
    assert key.properties["EnableKeyRotation"] is True
    assert encryption(assembly, PROD) == {
        "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key.arn},
        "BucketKeyEnabled": True,
    }


def test_old_versions_and_logs_go_after_the_retention_and_unfinished_uploads_after_a_week(assembly, environment):
    found = rules(assembly, f"Verger-{environment.name}-Storage")
    assert all(rule["Status"] == "Enabled" for rule in found.values())
    assert found["old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": environment.retention_days}
    assert found["old-versions"]["ExpiredObjectDeleteMarker"] is True
    assert found["old-versions"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert "Prefix" not in found["old-versions"]
    assert (found["logs"]["Prefix"], found["logs"]["ExpirationInDays"]) == (f"{contract.LOGS}/", environment.retention_days)


@pytest.mark.parametrize("days", [0, 1, 365])
def test_artifacts_expire_where_the_environment_says_so(variant, days):
    found = rules(variant(artifacts_days=days), "Verger-one-Storage")
    expected = {"Id": "artifacts", "Prefix": f"{contract.ARTIFACTS}/", "ExpirationInDays": days, "Status": "Enabled"}
    assert found.get("artifacts") == (expected if days else None)


def test_images_and_results_never_expire(everything):
    expiring = [rule for rule in rules(everything, "Verger-full-Storage").values() if "ExpirationInDays" in rule]
    assert {rule["Prefix"] for rule in expiring} == {f"{contract.LOGS}/", f"{contract.ARTIFACTS}/"}


def test_data_outlives_every_stack_as_it_comes(assembly):
    assert removals(assembly, DEV) == {"AWS::S3::Bucket": {"Retain"}}
    assert removals(assembly, PROD) == {"AWS::S3::Bucket": {"Retain"}, "AWS::KMS::Key": {"Retain"}}


@pytest.mark.parametrize("key", [False, True], ids=["S3's key", "its own key"])
@pytest.mark.parametrize(
    ("disposable", "context", "deleted"),
    [(True, {}, False), (True, {"delete_data": "one"}, True), (False, {}, False)],
    ids=["one key", "both keys", "no key"],
)
def test_data_goes_only_when_two_keys_are_turned(variant, disposable, context, deleted, key):
    made = variant(disposable=disposable, termination_protection=False, customer_managed_key=key, context=context)
    assert set.union(*removals(made, "Verger-one-Storage").values()) == ({"Delete"} if deleted else {"Retain"})
    emptied = [each for each in made.account.resources if each.type == "Custom::S3AutoDeleteObjects"]
    assert len(emptied) == deleted


def test_the_flag_alone_deletes_nothing(node):  # noqa: ARG001  asked for its skip
    from aws_cdk import App
    from aws_cdk.assertions import Template

    from infra.stacks import StorageStack

    stack = StorageStack(App(), environment=Environment("one"), delete_data=True)
    Template.from_stack(stack).all_resources("AWS::S3::Bucket", {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"})
    Template.from_stack(stack).resource_count_is("Custom::S3AutoDeleteObjects", 0)


def test_ids_of_what_holds_data_never_change(assembly):
    """Another logical id is another resource: CloudFormation would leave the data behind."""
    assert assembly.account.one(DEV, "AWS::S3::Bucket").logical_id == "StorageBucket5CB7C8EA"
    assert assembly.account.one(PROD, "AWS::S3::Bucket").logical_id == "StorageBucket5CB7C8EA"
    assert assembly.account.one(PROD, "AWS::KMS::Key").logical_id == "StorageKeyBAA9457B"
