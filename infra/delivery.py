"""How CI reaches the account: GitHub's OIDC tokens instead of keys, and roles to compare, deploy, collect garbage and run with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Duration
from aws_cdk import aws_emrserverless as emr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.environments import Environment
from infra.errors import BadEnvironment
from infra.execution import execution_statements
from infra.policies import NO_RESOURCE, allow, arn, below, use_key, verbs
from infra.storage import Storage
from job import contract

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
FOLLOWING = Duration.hours(6)  # a run, from a workflow job of GitHub's runners, which end by then
QUALIFIER = "hnb659fds"  # of `cdk bootstrap`, unless it is told another
# As the tokens' subjects have it: with the ids where a repository was created, renamed or transferred since 2026-07-15, or has opted in
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+@\d+/[\w.-]+@\d+", re.ASCII)
PROVIDER = re.compile(rf"arn:aws[a-z-]*:iam::\d{{12}}:oidc-provider/{re.escape(ISSUER)}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """What CI runs on in one environment."""

    environment: Environment
    application: emr.CfnApplication
    job_role: iam.Role
    storage: Storage
    parameter: ssm.StringParameter


class Delivery(Construct):
    """The identity provider, roles for jobs of one repository's workflows, and CloudFormation's policies.

    A job reaches a role through its GitHub environment: NAME-diff compares, NAME deploys, NAME-gc deletes old
    artifacts, NAME-run runs. Who may use these, and after whose approval, is set in the repository.
    """

    def __init__(self, scope: Construct, id_: str, *, repository: str, provider_arn: str, targets: Sequence[Target]) -> None:
        super().__init__(scope, id_)
        self.provider = (
            iam.OidcProviderNative.from_oidc_provider_arn(self, "GitHub", provider_arn)
            if provider_arn
            else iam.OidcProviderNative(self, "GitHub", url=f"https://{ISSUER}", client_ids=[AUDIENCE])
        )
        self.execution_policies = [
            iam.ManagedPolicy(self, f"Execution{name}", description="What CloudFormation may do to deploy Verger", statements=statements)
            for name, statements in execution_statements().items()
        ]
        names = [target.environment.name for target in targets]
        self.diff_role = self._role("DiffRole", repository, [f"{name}-diff" for name in names], "Reads which templates Verger has deployed")
        self.diff_role.add_to_policy(_read_templates(names))
        self.deploy_role = self._role("DeployRole", repository, names, "Deploys Verger")
        self.deploy_role.add_to_policy(_assume_bootstrap_roles())
        self.gc_role = self._role(
            "GcRole", repository, [f"{name}-gc" for name in names], "Deletes artifacts that no deployed template names"
        )
        for statement in _gc_statements():
            self.gc_role.add_to_policy(statement)
        self.run_roles = {target.environment.name: self._run_role(repository, target) for target in targets}

    def _role(self, id_: str, repository: str, environments: list[str], description: str, *, session: Duration | None = None) -> iam.Role:
        """A role for workflow jobs of these GitHub environments: exact subjects, no wildcard."""
        subjects = [f"repo:{repository}:environment:{name}" for name in environments]
        return iam.Role(
            self,
            id_,
            description=description,
            max_session_duration=session or Duration.hours(1),
            assumed_by=iam.FederatedPrincipal(
                self.provider.oidc_provider_arn,
                {"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": subjects}},
                "sts:AssumeRoleWithWebIdentity",
            ),
        )

    def _run_role(self, repository: str, target: Target) -> iam.Role:
        name = target.environment.name
        description = f"Starts and follows runs of Verger in {name}"
        role = self._role(f"RunRole{name.capitalize()}", repository, [f"{name}-run"], description, session=FOLLOWING)
        for statement in _run_statements(target):
            role.add_to_policy(statement)
        return role


def check_delivery(repository: str, provider_arn: str) -> None:
    """BadEnvironment where one of both is given and cannot be, whether or not there is to be a delivery."""
    if repository and not REPOSITORY.fullmatch(repository):
        raise BadEnvironment(
            f"repository = {repository!r}", "allowed: OWNER/NAME or OWNER@ID/NAME@ID, as GitHub's tokens have it: see docs/ci.md"
        )
    if provider_arn and not PROVIDER.fullmatch(provider_arn):
        raise BadEnvironment(
            f"oidc_provider_arn = {provider_arn!r}", f"allowed: the ARN of a provider for {ISSUER}, or nothing for one of our own"
        )


def _read_templates(environments: Sequence[str]) -> iam.PolicyStatement:
    """Not the lookup role of `cdk bootstrap`, which reads the whole account: this one is used before anybody has approved."""
    stacks = [arn("cloudformation", f"stack/Verger-{name}-*") for name in environments]
    return allow("ReadTemplates", verbs("cloudformation", "DescribeStacks GetTemplate"), stacks)


def _assume_bootstrap_roles() -> iam.PolicyStatement:
    """The roles that `cdk bootstrap` made for the CLI. What CloudFormation does then is its own role's matter."""
    roles = [
        f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/cdk-{QUALIFIER}-{kind}-role-{Aws.ACCOUNT_ID}-{Aws.REGION}"
        for kind in ("deploy", "file-publishing", "lookup")
    ]
    return allow("AssumeBootstrapRoles", ["sts:AssumeRole"], roles)


def _gc_statements() -> list[iam.PolicyStatement]:
    """What `cdk gc` calls, which assumes none of the roles of `cdk bootstrap` (garbage-collector.ts and stack-refresh.ts of the CLI).

    It may delete no version of an object, so what it deleted can be brought back for as long as the bucket keeps old versions.
    """
    bucket = f"arn:{Aws.PARTITION}:s3:::cdk-{QUALIFIER}-assets-{Aws.ACCOUNT_ID}-{Aws.REGION}"
    return [
        allow("FindStacks", ["cloudformation:ListStacks"], ["*"], because=NO_RESOURCE),
        allow("FindBootstrap", ["cloudformation:DescribeStacks"], [arn("cloudformation", "stack/CDKToolkit/*")]),
        allow(
            "ReadEveryTemplate",
            verbs("cloudformation", "GetTemplate GetTemplateSummary"),
            [arn("cloudformation", "stack/*")],
            because="a file that any stack's template names is in use",
        ),
        allow("ListArtifacts", ["s3:ListBucket"], [bucket]),
        allow("DeleteArtifacts", verbs("s3", "DeleteObject DeleteObjectTagging GetObjectTagging PutObjectTagging"), [f"{bucket}/*"]),
    ]


def _run_statements(target: Target) -> list[iam.PolicyStatement]:
    application, bucket = target.application.attr_arn, target.storage.bucket
    statements = [
        allow("ReadDeployment", ["ssm:GetParameter"], [target.parameter.parameter_arn]),
        allow("StartRuns", verbs("emr-serverless", "GetApplication ListJobRuns StartApplication StartJobRun"), [application]),
        allow(
            "FollowRuns",
            verbs("emr-serverless", "CancelJobRun GetDashboardForJobRun GetJobRun ListJobRunAttempts TagResource"),
            [f"{application}/jobruns/*"],
        ),
        allow(
            "PassJobRole",
            ["iam:PassRole"],
            [target.job_role.role_arn],
            {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}},
        ),
        allow("ListResults", ["s3:ListBucket"], [bucket.bucket_arn], {"StringLike": below(contract.RESULTS, contract.LOGS)}),
        allow("ReadResults", ["s3:GetObject"], [bucket.arn_for_objects(f"{folder}/*") for folder in (contract.RESULTS, contract.LOGS)]),
    ]
    if target.storage.key:
        statements.append(use_key(target.storage.key))
    return statements
