"""Whether the role of a run may do what a run does, as IAM's simulator says.

The simulator reads the role's policies and boundary, not a bucket's or a key's own policy ("SimulatePrincipalPolicy", IAM API Reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore import session

from bootstrap.aws import client, foreseen
from bootstrap.findings import Finding
from bootstrap.locations import Location
from job.contract import LOGS, RESULTS
from job.submission import Deployment

REMEDY = "deploy the environment again, and Verger-Boundary where there is one; its statements are in infra/security.py"


@dataclass(frozen=True, slots=True)
class Need:
    """Actions on a resource. context: keys of conditions, as the request would have them."""

    actions: tuple[str, ...]
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def check_role(deployment: Deployment, images: Location) -> Finding:
    """Reads images and artifacts, writes results and logs."""
    refused = [each for need in needs_of(deployment, images) for each in _refused(deployment, need)]
    if refused:
        return Finding("fail", f"{deployment.job_role_arn} may not {'; '.join(refused)}", REMEDY)
    return Finding("ok", "reads images and artifacts, writes results and logs")


def check_key(deployment: Deployment) -> Finding:
    """The bucket's own key, where it has one."""
    s3 = client("s3", region=deployment.region)
    with foreseen(f"asking how {deployment.bucket} is encrypted"):
        [rule] = s3.get_bucket_encryption(Bucket=deployment.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    chosen = rule["ApplyServerSideEncryptionByDefault"]
    if not (key := chosen.get("KMSMasterKeyID")):
        return Finding("ok", f"{chosen['SSEAlgorithm']}, no key of your own")
    if refused := _refused(deployment, Need(("kms:Decrypt", "kms:GenerateDataKey"), key, through_s3(deployment.region))):
        return Finding("fail", f"{deployment.job_role_arn} may not {'; '.join(refused)}", REMEDY)
    return Finding("ok", f"{key}, which the role may use")


def through_s3(region: str) -> dict[str, str]:
    """What S3 of a region adds to what it asks of KMS for somebody: its name, which ends as the partition's names do."""
    aws = session.get_session()
    suffixes = {each["id"]: each["outputs"]["dnsSuffix"] for each in aws.get_data("partitions")["partitions"]}
    suffix = suffixes[aws.get_partition_for_region(region)]
    return {"kms:ViaService": f"s3.{region}.{suffix}"}


def needs_of(deployment: Deployment, images: Location) -> list[Need]:
    """What a run over a folder of images asks of S3."""
    partition = deployment.job_role_arn.split(":")[1]
    bucket, theirs = (f"arn:{partition}:s3:::{name}" for name in (deployment.bucket, images.bucket))
    files = map(Location.parse, (deployment.entry_point, deployment.job_package, deployment.model, deployment.environment_archive))
    return [
        Need(("s3:ListBucket",), theirs, {"s3:prefix": images.prefix}),
        Need(("s3:GetObject",), f"{theirs}/{images.prefix}label/image.jpg"),
        *(Need(("s3:GetObject",), f"arn:{partition}:s3:::{file.bucket}/{file.key}") for file in files),
        Need(("s3:GetObject", "s3:PutObject", "s3:DeleteObject"), f"{bucket}/{RESULTS}/run/{RESULTS}"),
        Need(("s3:PutObject",), f"{bucket}/{LOGS}/applications/driver"),
    ]


def _refused(deployment: Deployment, need: Need) -> list[str]:
    """Each action that is not allowed, and on what."""
    context = [{"ContextKeyName": key, "ContextKeyType": "string", "ContextKeyValues": [value]} for key, value in need.context.items()]
    with foreseen("simulating the role"):
        answer = client("iam", region=deployment.region).simulate_principal_policy(
            PolicySourceArn=deployment.job_role_arn,
            ActionNames=list(need.actions),
            ResourceArns=[need.resource],
            ContextEntries=context,
        )
    return [f"{each['EvalActionName']} {need.resource}" for each in answer["EvaluationResults"] if each["EvalDecision"] != "allowed"]
