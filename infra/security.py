"""Who a run is, and the few prefixes that it may touch."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, Stack
from aws_cdk import aws_emrserverless as emr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.environments import Environment
from infra.policies import NO_RESOURCE, Conditions, allow, below, use_key
from infra.storage import Storage
from job import contract


class JobRole(Construct):
    """The role of the driver and the executors of this application's runs, and of nobody else.

    It reads images and artifacts, writes results and logs, and deletes results only: a run's staging, and what
    --overwrite replaces. The bucket keeps old versions of those for a while.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        application: emr.CfnApplication,
        storage: Storage,
        published: s3.IBucket,
        log_group: logs.ILogGroup,
    ) -> None:
        super().__init__(scope, id_)
        self.role = iam.Role(self, "Role", assumed_by=_runs_of(application), description=f"Runs of Verger in {environment.name}")
        bucket = storage.bucket
        self._allow(
            "ListBucket",
            ["s3:ListBucket"],
            [bucket.bucket_arn],
            {"StringLike": below(contract.IMAGES, contract.RESULTS, contract.ARTIFACTS)},
        )
        self._allow("Read", ["s3:GetObject"], _objects(bucket, contract.IMAGES, contract.ARTIFACTS))
        self._allow(
            "WriteResults",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            _objects(bucket, contract.RESULTS),
        )
        self._allow("WriteLogs", ["s3:PutObject"], _objects(bucket, contract.LOGS))
        self._allow("ReadPublishedArtifacts", ["s3:GetObject"], _objects(published, f"{contract.ARTIFACTS}/{environment.name}"))
        self._allow("StreamLogs", ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"], [log_group.log_group_arn])
        find = allow("FindLogGroup", ["logs:DescribeLogGroups"], ["*"], because=NO_RESOURCE)
        self.role.add_to_policy(find)
        if storage.key:
            self.role.add_to_policy(use_key(storage.key))
        if arn := environment.images_bucket_arn:
            self._allow("ListMoreImages", ["s3:ListBucket"], [arn])
            self._allow("ReadMoreImages", ["s3:GetObject"], [f"{arn}/*"])

    def _allow(self, sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None = None) -> None:
        self.role.add_to_policy(allow(sid, actions, resources, conditions))


def _runs_of(application: emr.CfnApplication) -> iam.ServicePrincipal:
    """EMR Serverless, on behalf of this application in this account (the confused deputy problem, IAM User Guide)."""
    return iam.ServicePrincipal(
        "emr-serverless.amazonaws.com",
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {
                "aws:SourceArn": Stack.of(application).format_arn(
                    service="emr-serverless", resource="/applications", resource_name=application.attr_application_id
                )
            },
        },
    )


def _objects(bucket: s3.IBucket, *folders: str) -> list[str]:
    return [bucket.arn_for_objects(f"{folder}/*") for folder in folders]
