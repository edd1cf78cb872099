"""What one run may do of all that its role may: read its images and its artifacts, write its results and its logs.

A run has the permissions that both its role and this policy give ("Execution IAM policy", EMR Serverless User Guide). What is the same
for all runs, the log group and the bucket's key, is left to the role.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bootstrap.errors import UsageError
from bootstrap.locations import Location, is_list, locations_in
from job.contract import LOGS
from job.submission import Deployment, values_of

MOST_LETTERS = 2048  # of a policy in StartJobRun (botocore, PolicyDocument)
READ, WRITE, LIST = "s3:GetObject", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "s3:ListBucket"
FLATBUFFER, ZIPPED = ".tflite", ".zip"


def session_policy(deployment: Deployment, arguments: Sequence[str]) -> str:
    """The policy of a run with this command line, as JSON. UsageError where it has more letters than a request may."""
    partition = deployment.job_role_arn.split(":")[1]
    reads, [results] = _reads(arguments), locations_in(values_of(arguments, "--results")[-1:])
    logs = Location(deployment.bucket, f"{LOGS}/applications/{deployment.application_id}")
    zipped = [model for model in values_of(arguments, "--model")[-1:] if _is_zip(model)]
    built = locations_in([deployment.entry_point, deployment.job_package, deployment.environment_archive, *zipped])
    # The results' own name, too: to hear that there is no such object takes a permission to read it, and one to list it
    named = [(each.bucket, each.key) for each in (*built, results)]
    below = [(each.bucket, each.prefix + "*") for each in reads or ()]
    listed = [*below, (results.bucket, results.key), (results.bucket, results.prefix + "*")]
    narrowed = [_allow(READ, [_arn(partition, *each) for each in named + below]), *_listings(partition, listed)]
    statements = [
        _allow(WRITE, _arn(partition, results.bucket, results.prefix + "*")),
        _allow("s3:PutObject", _arn(partition, logs.bucket, logs.prefix + "*")),
        _allow(["kms:*", "logs:*"], "*"),
        *([_allow([READ, LIST], "*")] if reads is None else narrowed),
    ]
    return _checked(json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":")))


def _checked(policy: str) -> str:
    if len(policy) > MOST_LETTERS:
        raise UsageError(
            f"the folders named make a session policy of {len(policy):,} letters, and {MOST_LETTERS:,} is the most",
            "name a folder that they all lie in, or make several runs of them",
        )
    return policy


def _listings(partition: str, listed: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """One for each bucket, of prefixes in it."""
    prefixes: dict[str, list[str]] = {}
    for bucket, prefix in listed:
        prefixes.setdefault(bucket, []).append(prefix)
    return [
        _allow(LIST, f"arn:{partition}:s3:::{bucket}") | {"Condition": {"StringLike": {"s3:prefix": names}}}
        for bucket, names in prefixes.items()
    ]


def _reads(arguments: Sequence[str]) -> list[Location] | None:
    """Folders that the command line names for reading. None where a list among them may name images anywhere."""
    images = values_of(arguments, "--images")
    if any(map(is_list, images)):
        return None
    models = locations_in(model for model in values_of(arguments, "--model")[-1:] if not _is_zip(model))
    # The card lies beside the flatbuffer
    return [*locations_in(images), *(each.folder if each.key.endswith(FLATBUFFER) else each for each in models)]


def _is_zip(model: str) -> bool:
    return model.rstrip("/").endswith(ZIPPED)  # as the job takes it


def _allow(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def _arn(partition: str, bucket: str, key: str) -> str:
    return f"arn:{partition}:s3:::{bucket}/{key}"
