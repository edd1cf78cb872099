"""cdk-nag's AwsSolutions rules: each finding is repaired, or has its reason in tests/infra/suppressions.py."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.environments import Environment, load_environments
from tests.conftest import lacking
from tests.infra.assembly import DEV_AND_PROD, REPO, synthesise
from tests.infra.suppressions import SUPPRESSIONS

Finding = tuple[str, str, str]


@pytest.fixture(scope="module")
def nag(node) -> Callable[[Any], None]:  # noqa: ARG001  asked for its skip
    """Has an app checked as it is synthesised."""
    if not importlib.util.find_spec("cdk_nag"):
        lacking("no cdk-nag here")
    from aws_cdk import Validations
    from cdk_nag import AwsSolutionsChecks

    return lambda app: Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def check(folder: Path, **options: Any) -> set[Finding]:
    """Rule, construct and what was found. A synthesis with findings ends with an error; its report is on disk by then."""
    with pytest.raises(RuntimeError, match=r"^ValidationFailed"):
        synthesise(folder, **options)
    reports = json.loads((folder / "out" / "validation-report.json").read_text())["pluginReports"]
    (checked,) = [report for report in reports if report["pluginName"] == "AwsSolutions"]
    return {
        (rule, construct["constructPath"], found.removesuffix("]"))
        for violation in checked["violations"]
        for rule, _, found in [violation["ruleName"].partition("[")]
        for construct in violation["violatingConstructs"]
    }


@pytest.fixture(scope="module")
def findings(nag, full, tmp_path_factory) -> set[Finding]:
    """Of dev, prod, and one with every option on, and delivery."""
    environments = {**load_environments(DEV_AND_PROD), "full": full}
    return check(tmp_path_factory.mktemp("nag"), environments=environments, watch=nag, repository=REPO)


def unexplained(findings: set[Finding]) -> set[Finding]:
    return {found for found in findings if not any(each.covers(*found) for each in SUPPRESSIONS)}


def test_every_finding_has_a_reason(findings):
    assert unexplained(findings) == set()


@pytest.mark.parametrize("suppression", SUPPRESSIONS, ids=lambda each: f"{each.rule} {each.finding}")
def test_every_reason_has_a_finding(findings, suppression):
    assert any(suppression.covers(*found) for found in findings)
    assert len(suppression.reason.split()) > 5


def test_a_finding_has_one_reason(findings):
    assert not [found for found in findings if sum(each.covers(*found) for each in SUPPRESSIONS) > 1]


def test_a_finding_that_nobody_explained_is_seen(nag, tmp_path):
    def with_a_hole(app: Any) -> None:
        from aws_cdk import Stack
        from aws_cdk import aws_iam as iam

        nag(app)
        user = iam.User(Stack(app, "Verger-hole"), "Someone")
        user.add_to_policy(iam.PolicyStatement(actions=["s3:*"], resources=["*"]))

    found = unexplained(check(tmp_path, environments={"one": Environment(name="one")}, watch=with_a_hole))
    assert {finding for _, _, finding in found} == {"Action::s3:*", "Resource::*"}
