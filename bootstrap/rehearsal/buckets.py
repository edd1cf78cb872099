"""A bucket as its template wants it: moto's takes encryption and tags from there, and nothing else."""

from __future__ import annotations

from typing import Any

import boto3
from moto.s3.models import FakeBucket

from bootstrap.rehearsal.kinds import Properties


def install() -> None:
    """Has moto's buckets take versions, lifecycle, ownership and public access as well."""
    create, update = FakeBucket.create_from_cloudformation_json, FakeBucket.update_from_cloudformation_json

    def created(resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any) -> Any:
        bucket = create(resource_name, cloudformation_json, account_id, region_name, **more)
        _set_up(bucket.name, cloudformation_json.get("Properties", {}))
        return bucket

    def updated(original_resource: Any, cloudformation_json: Any, **more: Any) -> Any:
        cloudformation_json["Properties"].setdefault("BucketName", original_resource.name)
        bucket = update(original_resource=original_resource, cloudformation_json=cloudformation_json, **more)
        _set_up(bucket.name, cloudformation_json["Properties"])
        return bucket

    FakeBucket.create_from_cloudformation_json = created
    FakeBucket.update_from_cloudformation_json = updated


def _set_up(bucket: str, properties: Properties) -> None:
    s3 = boto3.client("s3")
    if versioning := properties.get("VersioningConfiguration"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    if blocked := properties.get("PublicAccessBlockConfiguration"):
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked)
    if ownership := properties.get("OwnershipControls"):
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=ownership)
    if lifecycle := properties.get("LifecycleConfiguration"):
        rules = [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def _lifecycle_rule(rule: Properties) -> Properties:
    """A rule of a template as the API takes it."""
    made = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    expiration = {"Days": rule.get("ExpirationInDays"), "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker")}
    if kept := {key: value for key, value in expiration.items() if value}:
        made["Expiration"] = kept
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in rule:
            made[name] = rule[name]
    return made
