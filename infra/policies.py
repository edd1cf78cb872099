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
    by_s3 = {"StringEquals": {"kms:ViaService": f"s3.{Aws.REGION}.{Aws.URL_SUFFIX}"}}
    return allow("UseKey", ["kms:Decrypt", "kms:GenerateDataKey"], [key.key_arn], by_s3)


def below(*folders: str) -> dict[str, object]:
    """The s3:prefix of a listing of these folders, or of one below."""
    return {"s3:prefix": [prefix for folder in folders for prefix in (folder, f"{folder}/*")]}
