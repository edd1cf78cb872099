"""How CI reaches the account, and how little of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.infra.assembly import NUMBERED, REPO, synthesise
from tests.infra.deployed import GITHUB, statements
from tests.infra.simulator import Request, ask

STACK = "Verger-Delivery"
PROVIDER = f"arn:aws:iam::111122223333:oidc-provider/{GITHUB}"


def trust(assembly, id_):
    (statement,) = assembly.account.one(STACK, "AWS::IAM::Role", id_=f"Delivery{id_}").properties["AssumeRolePolicyDocument"]["Statement"]
    return statement


@pytest.mark.parametrize(
    ("role", "environments"),
    [
        ("DiffRole", ["dev-diff", "prod-diff"]),
        ("DeployRole", ["dev", "prod"]),
        ("GcRole", ["dev-gc", "prod-gc"]),
        ("RunRoleDev", ["dev-run"]),
        ("RunRoleProd", ["prod-run"]),
    ],
)
def test_a_role_is_for_jobs_of_exactly_these_github_environments(assembly, role, environments):
    assert trust(assembly, role) == {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": PROVIDER},
        "Condition": {
            "StringEquals": {
                f"{GITHUB}:aud": "sts.amazonaws.com",
                f"{GITHUB}:sub": [f"repo:{REPO}:environment:{name}" for name in environments],
            }
        },
    }


@pytest.mark.parametrize("repository", [REPO, NUMBERED])
def test_a_token_names_the_repository_exactly_as_it_was_given(variant, repository):
    """With ids or without: a token with the same name and other ids, or none, is another repository's."""
    account = variant(context={"repository": repository}).account
    role = account.one(STACK, "AWS::IAM::Role", id_="DeliveryDeployRole")

    def take(subject: str) -> Request:
        context = {f"{GITHUB}:sub": f"repo:{subject}:environment:one", f"{GITHUB}:aud": "sts.amazonaws.com"}
        trusted = role.properties["AssumeRolePolicyDocument"]
        return Request(PROVIDER, "sts:AssumeRoleWithWebIdentity", role.arn, account.number, context, resource_policy=trusted)

    tokens = [REPO, NUMBERED, "example@1234/verger@56789", "example@4321/verger@5678", "example@1234/verger", "example/verger@5678"]
    allowed = [token for token, answer in zip(tokens, ask([take(token) for token in tokens]), strict=True) if answer == "Allowed"]
    assert allowed == [repository]


def test_how_the_repository_is_written_is_the_delivery_s_matter_alone(variant):
    """The workflow that deploys an environment writes it without ids, and whoever deploys the roles with them."""
    plain, numbered = (variant(context={"repository": each}).account.templates for each in (REPO, NUMBERED))
    assert {stack for stack in plain if plain[stack] != numbered[stack]} == {STACK}
    assert json.loads(json.dumps(numbered).replace(NUMBERED, REPO)) == plain


def test_the_page_names_each_field_that_ci_does_not_deploy_all_of(variant, full):
    """Their change takes effect once an administrator has deployed CI's own stacks again."""
    fields = {field: getattr(full, field) for field in full.__slots__ if field != "name"}
    fields |= {"disposable": True, "termination_protection": False}

    def ours(**changed: object) -> dict[str, Any]:
        templates = variant(context={"repository": REPO}, **changed).account.templates
        return {stack: templates[stack] for stack in ("Verger-Boundary", STACK)}

    page = (REPOSITORY / "docs" / "ci.md").read_text().partition("CI deploys the environment's stacks only")[2].partition("\n## ")[0]
    told = {field for field in fields if f"`{field}`" in page}
    before = ours()
    assert [field for field in sorted(told) if ours(**{field: fields[field]}) == before] == []
    assert ours(**{field: value for field, value in fields.items() if field not in told}) == before


def test_no_trust_of_any_role_has_a_wildcard(assembly):
    for role in assembly.account.all("AWS::IAM::Role"):
        assert "*" not in json.dumps(role.properties["AssumeRolePolicyDocument"])


def test_the_deploy_role_assumes_the_bootstrap_roles_and_does_nothing_else(assembly):
    account = assembly.account
    (policy,) = account.policies_of(account.one(STACK, "AWS::IAM::Role", id_="DeliveryDeployRole"))
    (statement,) = policy["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
    roles = [f"role/cdk-hnb659fds-{kind}-role-111122223333-eu-west-1" for kind in ("deploy", "file-publishing", "lookup")]
    assert statement["Resource"] == [f"arn:aws:iam::111122223333:{role}" for role in roles]


def test_the_gc_role_does_all_that_the_cdk_cli_calls_to_collect_garbage_and_nothing_else(assembly, node):  # noqa: ARG001  asked for its skip
    """Read in the CLI of the lock file, which hides that it may not delete: it would say that it has."""
    code = (REPOSITORY / "node_modules" / "aws-cdk" / "lib" / "index.js").read_text()
    parts = re.findall(r"^// \.\./@aws-cdk/toolkit-lib/lib/api/(.+)\n((?:(?!// \.\./).*\n)+)", code, re.MULTILINE)
    collector = "".join(text for file, text in parts if file.startswith("garbage-collection/"))
    calls = {f"{service}:{name}" for service, name in re.findall(r"\b(cfn|s3)\.(\w+)\(", collector)}
    assert {"cfn:getTemplate", "s3:deleteObjects"} <= calls
    assert not re.findall(r"assumeRole|roleArn", collector)
    words = {"cfn": "cloudformation", "deleteObjects": "DeleteObject", "listObjectsV2": "ListBucket"}
    wanted = {
        ":".join(words.get(word, word[0].upper() + word[1:] if n else word) for n, word in enumerate(each.split(":"))) for each in calls
    }
    account = assembly.account
    (policy,) = account.policies_of(account.one(STACK, "AWS::IAM::Role", id_="DeliveryGcRole"))
    allowed = {action for statement in statements(policy) for action in statement["Action"]}
    assert allowed == wanted | {"cloudformation:DescribeStacks"}  # by which the CLI finds the bucket: toolkit-info.ts


def test_a_run_role_passes_exactly_the_job_role_of_its_environment(assembly, environment):
    account = assembly.account
    (policy,) = account.policies_of(account.one(STACK, "AWS::IAM::Role", id_=f"DeliveryRunRole{environment.name.capitalize()}"))
    (passes,) = [each for each in policy["Statement"] if "iam:PassRole" in each["Action"]]
    assert passes["Resource"] == account.one(f"Verger-{environment.name}-Job", "AWS::IAM::Role").arn
    assert passes["Condition"] == {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}}
    other = {"dev": "prod", "prod": "dev"}[environment.name]
    assert not [each for each in policy["Statement"] if f"Verger-{other}" in json.dumps(each) or each["Resource"] == "*"]


def test_sessions_that_compare_deploy_or_delete_end_after_an_hour_and_those_that_follow_a_run_after_six(assembly):
    roles = [each for each in assembly.account.all("AWS::IAM::Role") if each.stack == STACK]
    hours = {re.split("Delivery|[0-9]", each.logical_id)[1]: each.properties["MaxSessionDuration"] / 3600 for each in roles}
    assert hours == {"DiffRole": 1, "DeployRole": 1, "GcRole": 1, "RunRoleDev": 6, "RunRoleProd": 6}


def test_the_provider_is_githubs_for_sts(assembly):
    provider = assembly.account.one(STACK, "AWS::IAM::OIDCProvider").properties
    assert (provider["Url"], provider["ClientIdList"]) == (f"https://{GITHUB}", ["sts.amazonaws.com"])


def test_an_existing_provider_is_used_as_it_is(node, tmp_path):  # noqa: ARG001  asked for its skip
    existing = f"arn:aws:iam::444455556666:oidc-provider/{GITHUB}"
    made = synthesise(tmp_path, repository=REPO, oidc_provider_arn=existing)
    assert not made.account.all("AWS::IAM::OIDCProvider")
    assert trust(made, "DeployRole")["Principal"] == {"Federated": existing}


def test_one_environment_alone_takes_nothing_from_the_others(node, tmp_path):  # noqa: ARG001  asked for its skip
    """With a delivery of its own it would delete the other's run role; its own roles have the boundary all the same."""
    templates = synthesise(tmp_path, environment="prod", repository=REPO).account.templates
    assert set(templates) == {"Verger-Boundary", *(f"Verger-prod-{part}" for part in ("Storage", "Job", "Watch"))}


def test_there_is_no_delivery_without_a_repository(node, tmp_path):  # noqa: ARG001  asked for its skip
    assert STACK not in synthesise(tmp_path, repository="").account.templates


def test_the_bootstrap_command_names_every_policy_for_cloudformation(assembly):
    account = assembly.account
    command = account.resolve(account.templates[STACK]["Outputs"]["Bootstrap"]["Value"], STACK)
    policies = {each.arn for each in account.all("AWS::IAM::ManagedPolicy") if each.stack == STACK}
    words = command.split()
    assert words[:5] == ["cdk", "bootstrap", "-c", "placeholders=true", "--cloudformation-execution-policies"]
    assert set(words[5].split(",")) == policies
