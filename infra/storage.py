"""The bucket."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.environments import Environment
from job import contract

UPLOAD_DAYS = 7  # after which a multipart upload that was never completed is dropped: a run is over by then


class Storage(Construct):
    """One bucket for images, results, artifacts and logs, and its key where the environment wants one of its own.

    The data outlives the stack unless two keys are turned: the environment is disposable, and `delete_data` says so too.
    """

    def __init__(self, scope: Construct, id_: str, *, environment: Environment, delete_data: bool) -> None:
        super().__init__(scope, id_)
        self.emptied = environment.disposable and delete_data
        removal = RemovalPolicy.DESTROY if self.emptied else RemovalPolicy.RETAIN
        self.key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=removal) if environment.customer_managed_key else None
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.KMS if self.key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=self.key,
            bucket_key_enabled=True if self.key else None,  # one request to KMS for many objects
            enforce_ssl=True,
            minimum_tls_version=1.2,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            lifecycle_rules=_lifecycle(environment),
            removal_policy=removal,
            auto_delete_objects=self.emptied,
        )


def _lifecycle(environment: Environment) -> list[s3.LifecycleRule]:
    rules = [
        s3.LifecycleRule(
            id="old-versions",
            noncurrent_version_expiration=Duration.days(environment.retention_days),
            expired_object_delete_marker=True,
            abort_incomplete_multipart_upload_after=Duration.days(UPLOAD_DAYS),
        ),
        s3.LifecycleRule(id="logs", prefix=f"{contract.LOGS}/", expiration=Duration.days(environment.retention_days)),
    ]
    if environment.artifacts_days:
        rules.append(
            s3.LifecycleRule(id="artifacts", prefix=f"{contract.ARTIFACTS}/", expiration=Duration.days(environment.artifacts_days))
        )
    return rules
