"""How the stacks write down a permission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms

Conditions = Mapping[str, Mapping[str, object]]


def allow(sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None = None) -> iam.PolicyStatement:
    """A statement that allows these actions on these resources; its name says what for."""
    return iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions)


def verbs(service: str, names: str) -> list[str]:
    """Actions of one service, from their names separated by spaces."""
    return [f"{service}:{name}" for name in names.split()]


def use_key(key: kms.IKey) -> iam.PolicyStatement:
    """Reading and writing objects that S3 encrypts with `key`, and nothing else with it."""
    by_s3 = {"StringEquals": {"kms:ViaService": f"s3.{Aws.REGION}.{Aws.URL_SUFFIX}"}}
    return allow("UseKey", ["kms:Decrypt", "kms:GenerateDataKey"], [key.key_arn], by_s3)


def below(*folders: str) -> dict[str, object]:
    """The s3:prefix of a listing of these folders, or of one below."""
    return {"s3:prefix": [prefix for folder in folders for prefix in (folder, f"{folder}/*")]}
