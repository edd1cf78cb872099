"""Looks at everything that a run of an environment needs, before anything is spent; nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache, partial

from bootstrap.access import check_key, check_role
from bootstrap.checks import (
    application_of,
    check_application,
    check_code,
    check_credentials,
    check_images,
    check_interpreter,
    check_model,
    check_packages,
    check_quota,
    check_region,
    packages_of,
)
from bootstrap.console import Column, bar, print_json, print_table
from bootstrap.errors import BootstrapError
from bootstrap.findings import Finding, ask
from bootstrap.locations import Location
from bootstrap.submit import check_environment, find_deployment
from job.contract import IMAGES
from job.submission import Deployment, parameter_name

ALL = 12  # checks
RESTING = ("quota", "interpreter")  # on others, which have findings of their own, or on a service that may be out of reach
STATES = Column("state", styles={"ok": "green", "warn": "yellow", "fail": "bold red"})


def doctor(environment: str, *, images: Location | None, region: str | None, as_json: bool) -> None:
    """Prints a finding for each check. BootstrapError where one fails.

    images  a folder that a run is to read; None for the environment's own
    """
    check_environment(environment)
    findings: dict[str, Finding] = {}
    with bar("looking", total=ALL, unit="checks") as advance:
        for check, finding in examine(environment, images=images, region=region):
            findings[check] = finding
            advance(1)
    if as_json:
        print_json({"environment": environment, "findings": {check: asdict(finding) for check, finding in findings.items()}})
    else:
        rows = [(check, each.state, each.found, each.remedy) for check, each in findings.items()]
        print_table([Column("check"), STATES, Column("found"), Column("what to do")], rows)
    if failed := [check for check, finding in findings.items() if finding.state == "fail"]:
        raise BootstrapError(f"{environment}: {', '.join(failed)}: a run would fail", "what to do is beside each")


def examine(environment: str, *, images: Location | None = None, region: str | None) -> Iterator[tuple[str, Finding]]:
    """Checks and their findings, in the order in which a run would meet them. What rests on one that fails is not asked."""
    for check, look in (("region", check_region), ("credentials", check_credentials)):
        finding = ask(partial(look, region))
        yield check, finding
        if finding.state == "fail":
            return
    try:
        deployment = find_deployment(environment, region=region)
    except BootstrapError as error:
        yield "deployment", Finding("fail", str(error), error.hint)
        return
    yield "deployment", Finding("ok", parameter_name(environment))
    yield from examine_deployment(deployment, images=images)


def examine_deployment(deployment: Deployment, *, images: Location | None = None) -> Iterator[tuple[str, Finding]]:
    """The same, of what is deployed. Two checks need what others ask for as well: it is asked for once."""
    place = images or Location(deployment.bucket, IMAGES)
    application = cache(lambda: application_of(deployment))
    packages = cache(lambda: packages_of(deployment))
    checks: dict[str, Callable[[], Finding]] = {
        "application": lambda: check_application(application()),
        "quota": lambda: check_quota(application(), deployment),
        "code": lambda: check_code(deployment),
        "model": lambda: check_model(deployment),
        "packages": lambda: check_packages(packages()),
        "interpreter": lambda: check_interpreter(packages(), application()),
        "images": lambda: check_images(place, region=deployment.region),
        "role": lambda: check_role(deployment, place),
        "key": lambda: check_key(deployment),
    }
    for check, look in checks.items():
        yield check, ask(look, unanswered="warn" if check in RESTING else "fail")
