"""How the stacks write down a permission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms

Conditions = Mapping[str, Mapping[str, object]]

# Every resource, or every one of a type. A bucket's name comes first in its ARN, so `*` there is never the first thing.
EVERY = re.compile(r"\*|arn:[^:]*:(?!s3:)[^:]*:[^:]*:[^:]*:(/?[a-z-]+[:/])?\*")
# CloudFormation names what it makes after the stack: Verger-dev-Job-..., and buckets in lower case.
STACKS, BUCKETS = "Verger-*", "verger-*"

NO_RESOURCE = "the action takes no resource (Service Authorization Reference)"


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None = None, *, because: str = ""
) -> iam.PolicyStatement:
    """A statement that allows these actions on these resources; its name says what for.

    ValueError where it has a wildcard for an action, or for every resource of a type, and `because` does not say why.
    """
    if not because and (any("*" in action for action in actions) or any(map(EVERY.fullmatch, resources))):
        raise ValueError(f"{sid} has a wildcard and no reason for it")
    return iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions)


def verbs(service: str, names: str) -> list[str]:
    """Actions of one service, from their names separated by spaces."""
    return [f"{service}:{name}" for name in names.split()]


def use_key(key: kms.IKey) -> iam.PolicyStatement:
    """Reading and writing objects that S3 encrypts with `key`, and nothing else with it."""
    return allow("UseKey", ["kms:Decrypt", "kms:GenerateDataKey"], [key.key_arn], via_s3())


def via_s3() -> Conditions:
    """Only what S3 asks of KMS for the caller."""
    return {"StringEquals": {"kms:ViaService": f"s3.{Aws.REGION}.{Aws.URL_SUFFIX}"}}


def arn(service: str, resource: str, *, where: str = f"{Aws.REGION}:{Aws.ACCOUNT_ID}") -> str:
    """An ARN in this partition and, unless `where` says otherwise, in this region and account."""
    return f"arn:{Aws.PARTITION}:{service}:{where}:{resource}"


def below(*folders: str) -> dict[str, object]:
    """The s3:prefix of a listing of these folders, or of one below: as Verger lists them, with the slash at their end."""
    return {"s3:prefix": [f"{folder}/*" for folder in folders]}
