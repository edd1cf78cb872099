"""The most that a role of an environment may do, whatever its own policies say.

CloudFormation may give a role any policy: with it, whoever writes a template could give out more than they have. The
execution policies let it make only roles that have this boundary, and nothing lets it change the boundary.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.policies import BUCKETS, NO_RESOURCE, STACKS, allow, arn, verbs, via_s3
from job import contract

# A physical name, as roles that are deployed by others carry it: one for each region, as policies are the account's.
NAME = f"Verger-Boundary-{Aws.REGION}"


class Boundary(Construct):
    """The policy. images: ARNs of buckets that the environments read from beside their own."""

    def __init__(self, scope: Construct, id_: str, *, images: Sequence[str]) -> None:
        super().__init__(scope, id_)
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=NAME,
            description="The most that a role of Verger's environments may do",
            statements=_statements(images),
        )


def boundary_arn() -> str:
    return arn("iam", f"policy/{NAME}", where=f":{Aws.ACCOUNT_ID}")


def bound(scope: Construct) -> None:
    """Puts the boundary on every role within `scope`, those that CDK makes by itself as well."""
    iam.PermissionsBoundary.of(scope).apply(iam.ManagedPolicy.from_managed_policy_arn(scope, "Boundary", boundary_arn()))


def _statements(images: Sequence[str]) -> list[iam.PolicyStatement]:
    groups = [arn("logs", f"log-group:{prefix}{STACKS}") for prefix in ("", "/aws/lambda/")]
    published = arn("s3", f"cdk-*-assets-{Aws.ACCOUNT_ID}-{Aws.REGION}/{contract.ARTIFACTS}/*", where=":")
    statements = [
        allow(
            "Buckets",
            verbs("s3", "DeleteObject* GetBucket* GetObject List* PutBucketPolicy PutObject"),
            [arn("s3", BUCKETS, where=":")],  # `*` takes in the objects: it matches slashes as well
            because="what CDK's function needs to empty a bucket that goes; a run's own policy is far narrower",
        ),
        allow("Artifacts", ["s3:GetObject"], [published]),
        allow("Logs", verbs("logs", "CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents"), groups),
        allow("FindLogGroup", ["logs:DescribeLogGroups"], ["*"], because=NO_RESOURCE),
        allow(
            "Keys",
            verbs("kms", "Decrypt GenerateDataKey"),
            [arn("kms", "key/*")],
            via_s3(),
            because="a key has no name; a role's own policy says which, and this that it is for objects in S3 only",
        ),
    ]
    if images:
        statements.append(allow("Images", verbs("s3", "GetObject ListBucket"), [*images, *(f"{bucket}/*" for bucket in images)]))
    return statements
