"""The end of an environment: what refuses to go, what goes and what stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.process import StandIn


def end_environment(aws: StandIn, stacks: str, bucket: str, *, disposable: bool, destroy: Callable[[], object]) -> str:
    """Destroys the stacks whose names begin with `stacks`, once they may be; BootstrapError where too much went, or too little."""
    kept = 0 if disposable else _count(aws, bucket)
    protected = [name for name, is_protected in _stacks(aws, stacks).items() if is_protected]
    if protected:
        _refuse(destroy)
        _let_go(aws, protected)
    destroy()
    if left := _stacks(aws, stacks):
        raise BootstrapError(f"{', '.join(left)} are still there after cdk destroy")
    if disposable and _is_there(aws, bucket):
        raise BootstrapError(f"{bucket} is still there", "an environment that is disposable, with -c delete_data, takes its data along")
    if not disposable and (not _is_there(aws, bucket) or _count(aws, bucket) != kept):
        raise BootstrapError(f"{bucket} did not stay as it was", "the data of an environment that is not disposable outlives its stacks")
    return "stacks and data are gone" if disposable else f"refused, then stacks are gone; {kept} objects stay"


def _stacks(aws: StandIn, prefix: str) -> dict[str, bool]:
    """Names of stacks, and whether they are protected from deletion."""
    found = aws.client("cloudformation").describe_stacks()["Stacks"]
    return {each["StackName"]: each["EnableTerminationProtection"] for each in found if each["StackName"].startswith(prefix)}


def _refuse(destroy: Callable[[], object]) -> None:
    """Makes sure that `destroy` fails as long as stacks are protected."""
    try:
        destroy()
    except BootstrapError as error:
        if "TerminationProtection" in str(error):
            return
        raise
    raise BootstrapError("cdk destroy deletes stacks that are protected from deletion")


def _let_go(aws: StandIn, stacks: list[str]) -> None:
    for name in stacks:
        verb = ["aws", "cloudformation", "update-termination-protection", "--no-enable-termination-protection"]
        aws.run([*verb, "--stack-name", name], cwd=Path.cwd())


def _is_there(aws: StandIn, bucket: str) -> bool:
    return bucket in [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]


def _count(aws: StandIn, bucket: str) -> int:
    pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return sum(page["KeyCount"] for page in pages)
