"""Who may do what, asked of a simulator: what is needed is allowed, and what is next to it is not.

A line of a table is an action, the resource that it is done to, and the context keys of the request. Names in braces are
those of `names_in`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.infra.account import PHOTOS, REPO, account
from tests.infra.deployed import GITHUB, Account, Resource
from tests.infra.simulator import Context, Request, ask

Line = tuple[str, str] | tuple[str, str, Context]

EMR = "emr-serverless.amazonaws.com"
BY_S3, BY_SSM = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}, {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"}
TO_EMR, TO_LAMBDA = {"iam:PassedToService": EMR}, {"iam:PassedToService": "lambda.amazonaws.com"}


def under(prefix: str) -> Context:
    return {"s3:prefix": prefix}


RUNS_MAY: list[Line] = [
    ("s3:ListBucket", "{bucket}", under("images/")),
    ("s3:ListBucket", "{bucket}", under("images/apples/")),
    ("s3:ListBucket", "{bucket}", under("results/2026/.staging/")),
    ("s3:ListBucket", "{bucket}", under("artifacts/")),
    ("s3:GetObject", "{bucket}/images/apples/1.jpg"),
    ("s3:GetObject", "{bucket}/artifacts/model.zip"),
    ("s3:GetObject", "{bucket}/results/2026/summary.json"),
    ("s3:PutObject", "{bucket}/results/2026/features/part-0.parquet"),
    ("s3:DeleteObject", "{bucket}/results/2026/.staging/part-0.parquet"),
    ("s3:PutObject", "{bucket}/logs/applications/a/jobs/b/stdout.gz"),
    ("s3:GetObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("logs:CreateLogStream", "{log_group}:log-stream:SPARK_DRIVER/stdout"),
    ("logs:PutLogEvents", "{log_group}:log-stream:SPARK_DRIVER/stdout"),
    ("logs:DescribeLogGroups", "*"),
]

RUNS_MAY_NOT: list[Line] = [
    ("s3:ListBucket", "{bucket}"),
    ("s3:ListBucket", "{bucket}", under("")),
    ("s3:ListBucket", "{bucket}", under("images")),
    ("s3:ListBucket", "{bucket}", under("logs/")),
    ("s3:ListBucket", "{bucket}", under("images-of-others/")),
    ("s3:ListBucketVersions", "{bucket}", under("images/")),
    ("s3:AbortMultipartUpload", "{bucket}/results/2026/features/part-0.parquet"),
    ("s3:PutObject", "{bucket}/images/apples/1.jpg"),
    ("s3:DeleteObject", "{bucket}/images/apples/1.jpg"),
    ("s3:PutObject", "{bucket}/artifacts/model.zip"),
    ("s3:DeleteObject", "{bucket}/artifacts/model.zip"),
    ("s3:GetObject", "{bucket}/logs/applications/a/jobs/b/stdout.gz"),
    ("s3:DeleteObject", "{bucket}/logs/applications/a/jobs/b/stdout.gz"),
    ("s3:PutObject", "{bucket}/elsewhere/part-0.parquet"),
    ("s3:DeleteObjectVersion", "{bucket}/results/2026/summary.json"),
    ("s3:GetObjectVersion", "{bucket}/images/apples/1.jpg"),
    ("s3:PutObjectAcl", "{bucket}/results/2026/summary.json"),
    ("s3:PutBucketPolicy", "{bucket}"),
    ("s3:PutLifecycleConfiguration", "{bucket}"),
    ("s3:PutBucketVersioning", "{bucket}"),
    ("s3:DeleteBucket", "{bucket}"),
    ("s3:ListAllMyBuckets", "*"),
    ("s3:GetObject", "{assets}/artifacts/{other}/0123.zip"),
    ("s3:GetObject", "{assets}/0123.zip"),
    ("s3:PutObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:ListBucket", "{assets}", under("artifacts/{environment}/")),
    ("s3:GetObject", "{other_bucket}/images/apples/1.jpg"),
    ("s3:ListBucket", "{other_bucket}", under("images/")),
    ("s3:GetObject", "arn:aws:s3:::someone-elses/images/apples/1.jpg"),
    ("logs:PutLogEvents", "{other_log_group}:log-stream:SPARK_DRIVER/stdout"),
    ("logs:GetLogEvents", "{log_group}:log-stream:SPARK_DRIVER/stdout"),
    ("logs:DeleteLogGroup", "{log_group}"),
    ("kms:Decrypt", "{other_key}", BY_S3),
    ("iam:PassRole", "{job_role}", TO_EMR),
    ("sts:AssumeRole", "{deploy_role}"),
    ("emr-serverless:StartJobRun", "{application}"),
    ("emr-serverless:GetApplication", "{application}"),
    ("ssm:GetParameter", "{parameter}"),
    ("glue:GetDatabase", "arn:aws:glue:eu-west-1:111122223333:catalog"),
    ("ec2:RunInstances", "arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0"),
]

WITH_A_KEY_MAY: list[Line] = [("kms:Decrypt", "{key}", BY_S3), ("kms:GenerateDataKey", "{key}", BY_S3)]
WITH_A_KEY_MAY_NOT: list[Line] = [
    ("kms:Decrypt", "{key}"),
    ("kms:Decrypt", "{key}", BY_SSM),
    ("kms:Encrypt", "{key}", BY_S3),
    ("kms:PutKeyPolicy", "{key}"),
    ("kms:ScheduleKeyDeletion", "{key}"),
    ("kms:CreateGrant", "{key}", BY_S3),
]

WITH_PHOTOS_MAY: list[Line] = [
    ("s3:ListBucket", PHOTOS),
    ("s3:ListBucket", PHOTOS, under("2026/")),
    ("s3:GetObject", f"{PHOTOS}/2026/1.jpg"),
]
WITH_PHOTOS_MAY_NOT: list[Line] = [
    ("s3:PutObject", f"{PHOTOS}/2026/1.jpg"),
    ("s3:DeleteObject", f"{PHOTOS}/2026/1.jpg"),
    ("s3:GetObject", f"{PHOTOS}-of-others/2026/1.jpg"),
]

CI_MAY: list[Line] = [
    ("ssm:GetParameter", "{parameter}"),
    ("emr-serverless:StartJobRun", "{application}"),
    ("emr-serverless:StartApplication", "{application}"),
    ("emr-serverless:GetApplication", "{application}"),
    ("emr-serverless:ListJobRuns", "{application}"),
    ("emr-serverless:GetJobRun", "{application}/jobruns/1"),
    ("emr-serverless:CancelJobRun", "{application}/jobruns/1"),
    ("emr-serverless:GetDashboardForJobRun", "{application}/jobruns/1"),
    ("emr-serverless:ListJobRunAttempts", "{application}/jobruns/1"),
    ("emr-serverless:TagResource", "{application}/jobruns/1"),
    ("iam:PassRole", "{job_role}", TO_EMR),
    ("s3:ListBucket", "{bucket}", under("results/2026/")),
    ("s3:GetObject", "{bucket}/results/2026/summary.json"),
    ("s3:GetObject", "{bucket}/logs/applications/a/jobs/b/stderr.gz"),
]

CI_MAY_NOT: list[Line] = [
    ("iam:PassRole", "{job_role}"),
    ("iam:PassRole", "{job_role}", TO_LAMBDA),
    ("iam:PassRole", "{other_job_role}", TO_EMR),
    ("iam:PassRole", "{deploy_role}", TO_EMR),
    ("emr-serverless:StartJobRun", "{other_application}"),
    ("emr-serverless:CancelJobRun", "{other_application}/jobruns/1"),
    ("emr-serverless:CreateApplication", "*"),
    ("emr-serverless:UpdateApplication", "{application}"),
    ("emr-serverless:DeleteApplication", "{application}"),
    ("emr-serverless:StopApplication", "{application}"),
    ("emr-serverless:TagResource", "{application}"),
    ("emr-serverless:AccessInteractiveEndpoints", "{application}"),
    ("ssm:PutParameter", "{parameter}"),
    ("ssm:GetParameter", "{other_parameter}"),
    ("ssm:GetParameter", "arn:aws:ssm:eu-west-1:111122223333:parameter/secret"),
    ("s3:GetObject", "{bucket}/images/apples/1.jpg"),
    ("s3:ListBucket", "{bucket}", under("images/")),
    ("s3:ListBucket", "{bucket}"),
    ("s3:PutObject", "{bucket}/results/2026/summary.json"),
    ("s3:DeleteObject", "{bucket}/results/2026/summary.json"),
    ("s3:PutObject", "{bucket}/images/apples/1.jpg"),
    ("s3:PutObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:GetObject", "{other_bucket}/results/2026/summary.json"),
    ("sts:AssumeRole", "{job_role}"),
    ("sts:AssumeRole", "{bootstrap}-deploy-role-111122223333-eu-west-1"),
]

STACK = "arn:aws:cloudformation:eu-west-1:111122223333:stack"
DIFF_MAY: list[Line] = [
    (f"cloudformation:{action}", f"{STACK}/Verger-{stack}/1")
    for action in ("DescribeStacks", "GetTemplate")
    for stack in ("dev-Job", "prod-Storage")
]
DIFF_MAY_NOT: list[Line] = [
    ("cloudformation:GetTemplate", f"{STACK}/Verger-Delivery/1"),
    ("cloudformation:GetTemplate", f"{STACK}/CDKToolkit/1"),
    ("cloudformation:GetTemplate", f"{STACK.replace('eu-west-1', 'us-east-1')}/Verger-dev-Job/1"),
    ("cloudformation:CreateChangeSet", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:UpdateStack", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:DeleteStack", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:ListStacks", "*"),
    ("sts:AssumeRole", "{bootstrap}-lookup-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "{bootstrap}-deploy-role-111122223333-eu-west-1"),
    ("s3:GetObject", "{bucket}/images/apples/1.jpg"),
    ("s3:GetObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("ssm:GetParameter", "{parameter}"),
]

DEPLOY_MAY: list[Line] = [
    ("sts:AssumeRole", "{bootstrap}-deploy-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "{bootstrap}-file-publishing-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "{bootstrap}-lookup-role-111122223333-eu-west-1"),
]
DEPLOY_MAY_NOT: list[Line] = [
    ("sts:AssumeRole", "{bootstrap}-deploy-role-111122223333-us-east-1"),
    ("sts:AssumeRole", "{bootstrap}-cfn-exec-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "{bootstrap}-image-publishing-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "arn:aws:iam::111122223333:role/Admin"),
    ("sts:AssumeRole", "{job_role}"),
    ("iam:PassRole", "{bootstrap}-cfn-exec-role-111122223333-eu-west-1", {"iam:PassedToService": "cloudformation.amazonaws.com"}),
    ("cloudformation:DescribeStacks", f"{STACK}/Verger-dev-Job/1"),
    ("s3:GetObject", "{bucket}/images/apples/1.jpg"),
    ("iam:CreateRole", "{deploy_role}"),
]

GC_MAY: list[Line] = [
    ("cloudformation:ListStacks", "*"),
    ("cloudformation:DescribeStacks", f"{STACK}/CDKToolkit/1"),
    ("cloudformation:GetTemplate", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:GetTemplateSummary", f"{STACK}/of-another-app/1"),
    ("s3:ListBucket", "{assets}"),
    ("s3:GetObjectTagging", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:PutObjectTagging", "{assets}/0123.json"),
    ("s3:DeleteObjectTagging", "{assets}/0123.json"),
    ("s3:DeleteObject", "{assets}/artifacts/{other}/0123.zip"),
]
GC_MAY_NOT: list[Line] = [
    ("s3:DeleteObjectVersion", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:ListBucketVersions", "{assets}"),
    ("s3:GetObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:PutObject", "{assets}/artifacts/{environment}/0123.zip"),
    ("s3:PutLifecycleConfiguration", "{assets}"),
    ("s3:PutBucketVersioning", "{assets}"),
    ("s3:DeleteBucket", "{assets}"),
    ("s3:DeleteObject", "arn:aws:s3:::cdk-hnb659fds-assets-111122223333-us-east-1/0123.zip"),
    ("s3:DeleteObject", "arn:aws:s3:::cdk-other-assets-111122223333-eu-west-1/0123.zip"),
    ("s3:ListBucket", "{bucket}", under("images/")),
    ("s3:DeleteObject", "{bucket}/images/apples/1.jpg"),
    ("s3:PutObjectTagging", "{bucket}/images/apples/1.jpg"),
    ("s3:ListAllMyBuckets", "*"),
    ("cloudformation:DescribeStacks", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:GetTemplate", f"{STACK.replace('eu-west-1', 'us-east-1')}/Verger-dev-Job/1"),
    ("cloudformation:UpdateStack", f"{STACK}/Verger-dev-Job/1"),
    ("cloudformation:DeleteStack", f"{STACK}/CDKToolkit/1"),
    ("ecr:BatchDeleteImage", "arn:aws:ecr:eu-west-1:111122223333:repository/cdk-hnb659fds-container-assets-111122223333-eu-west-1"),
    ("ssm:GetParameter", "{parameter}"),
    ("sts:AssumeRole", "{bootstrap}-deploy-role-111122223333-eu-west-1"),
    ("sts:AssumeRole", "{bootstrap}-file-publishing-role-111122223333-eu-west-1"),
    ("iam:PassRole", "{job_role}", TO_EMR),
]


def names_in(cloud: Account, environment: str, other: str) -> dict[str, str]:
    """ARNs of what belongs to an environment, and of the same things of another one."""
    names = {"environment": environment, "other": other, "assets": f"arn:aws:s3:::cdk-hnb659fds-assets-{cloud.number}-{cloud.region}"}
    kinds = [
        ("bucket", "Storage", "AWS::S3::Bucket", ""),
        ("application", "Job", "AWS::EMRServerless::Application", ""),
        ("job_role", "Job", "AWS::IAM::Role", ""),
        ("log_group", "Job", "AWS::Logs::LogGroup", ""),
        ("parameter", "Job", "AWS::SSM::Parameter", ""),
    ]
    for name, part, kind, id_ in kinds:
        names[name] = cloud.one(f"Verger-{environment}-{part}", kind, id_=id_).arn
        names[f"other_{name}"] = cloud.one(f"Verger-{other}-{part}", kind, id_=id_).arn
    keys = {key.stack.split("-")[1]: key.arn for key in cloud.all("AWS::KMS::Key")}
    return names | {
        "key": keys.get(environment, ""),
        "other_key": keys.get(other, cloud.arn("kms", "key/of-another")),
        "deploy_role": cloud.one("Verger-Delivery", "AWS::IAM::Role", id_="DeliveryDeployRole").arn,
        "bootstrap": f"arn:aws:iam::{cloud.number}:role/cdk-hnb659fds",
    }


def answers(role: Resource, lines: Sequence[Line], names: dict[str, str]) -> list[str]:
    """What the simulator says to each line, with the role's policies and those of the resources."""
    cloud = account()
    requests = []
    for action, resource, *context in lines:
        arn = resource.format(**names)
        keys = {key: value.format(**names) for key, value in (context[0] if context else {}).items()}
        policy = cloud.resource_policy(arn)
        own, boundary = cloud.policies_of(role), cloud.boundary_of(role)
        requests.append(Request(role.arn, action, arn, cloud.number, keys, own, boundary=boundary, resource_policy=policy))
    return ask(requests)


def check(role: Resource, names: dict[str, str], *, may: Sequence[Line], may_not: Sequence[Line]) -> None:
    given = answers(role, [*may, *may_not], names)
    assert [line for line, answer in zip(may, given, strict=False) if answer != "Allowed"] == [], "refused"
    assert [line for line, answer in zip(may_not, given[len(may) :], strict=True) if answer == "Allowed"] == [], "allowed"


@pytest.mark.parametrize(
    ("environment", "other", "more", "less"),
    [
        ("dev", "prod", [], WITH_PHOTOS_MAY),
        ("prod", "dev", WITH_A_KEY_MAY, [*WITH_A_KEY_MAY_NOT, *WITH_PHOTOS_MAY]),
        ("full", "prod", [*WITH_A_KEY_MAY, *WITH_PHOTOS_MAY], [*WITH_A_KEY_MAY_NOT, *WITH_PHOTOS_MAY_NOT]),
    ],
)
def test_a_run_reads_images_and_writes_results_and_nothing_else(environment, other, more, less):
    role = account().one(f"Verger-{environment}-Job", "AWS::IAM::Role")
    check(role, names_in(account(), environment, other), may=[*RUNS_MAY, *more], may_not=[*RUNS_MAY_NOT, *less])


@pytest.mark.parametrize(("environment", "other", "more"), [("dev", "prod", []), ("prod", "dev", WITH_A_KEY_MAY[:1])])
def test_ci_starts_and_follows_runs_of_its_application_and_nothing_else(environment, other, more):
    role = account().one("Verger-Delivery", "AWS::IAM::Role", id_=f"DeliveryRunRole{environment.capitalize()}")
    check(role, names_in(account(), environment, other), may=[*CI_MAY, *more], may_not=CI_MAY_NOT)


def test_ci_compares_with_the_templates_of_the_environments_and_does_nothing_else():
    role = account().one("Verger-Delivery", "AWS::IAM::Role", id_="DeliveryDiffRole")
    check(role, names_in(account(), "dev", "prod"), may=DIFF_MAY, may_not=DIFF_MAY_NOT)


def test_ci_deploys_through_the_roles_of_cdk_bootstrap_and_nothing_else():
    role = account().one("Verger-Delivery", "AWS::IAM::Role", id_="DeliveryDeployRole")
    check(role, names_in(account(), "dev", "prod"), may=DEPLOY_MAY, may_not=DEPLOY_MAY_NOT)


def test_ci_deletes_old_artifacts_and_does_nothing_else():
    role = account().one("Verger-Delivery", "AWS::IAM::Role", id_="DeliveryGcRole")
    check(role, names_in(account(), "dev", "prod"), may=GC_MAY, may_not=GC_MAY_NOT)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_bucket_answers_nobody_over_plain_http_or_old_tls(environment):
    role = account().one(f"Verger-{environment}-Job", "AWS::IAM::Role")
    names = names_in(account(), environment, "full")
    plain, old, new = {"aws:SecureTransport": "false"}, {"s3:TlsVersion": "1.1"}, {"s3:TlsVersion": "1.2"}
    image, listing = ("s3:GetObject", "{bucket}/images/1.jpg"), ("s3:ListBucket", "{bucket}")
    lines: list[Line] = [
        (*image, plain),
        (*image, old),
        (*listing, {**under("images/"), **plain}),
        (*image, new),
        (*image, {"s3:TlsVersion": "1.3"}),
    ]
    assert answers(role, lines, names) == ["ExplicitlyDenied"] * 3 + ["Allowed"] * 2


def test_only_its_own_rule_and_alarms_publish_to_the_topic_and_never_in_the_clear():
    cloud = account()
    topic, other = (cloud.one(f"Verger-{name}-Watch", "AWS::SNS::Topic").arn for name in ("dev", "prod"))
    rule, foreign = (cloud.one(f"Verger-{name}-Watch", "AWS::Events::Rule").arn for name in ("dev", "prod"))
    alarm = cloud.one("Verger-dev-Watch", "AWS::CloudWatch::Alarm", id_="WatchRunsFailed").arn

    def publish(service: str, source: str, resource: str = topic, **more: str) -> Request:
        context = {"aws:SourceArn": source, "aws:SourceAccount": cloud.number, **more}
        principal = f"{service}.amazonaws.com"
        return Request(principal, "sns:Publish", resource, cloud.number, context, resource_policy=cloud.resource_policy(resource))

    assert ask(
        [
            publish("events", rule),
            publish("cloudwatch", alarm),
            publish("events", foreign),
            publish("cloudwatch", rule),
            publish("lambda", rule),
            publish("events", rule, other),
            publish("events", rule, **{"aws:SecureTransport": "false"}),
        ]
    ) == ["Allowed"] * 2 + ["ImplicitlyDenied"] * 4 + ["ExplicitlyDenied"]


def test_only_emr_serverless_for_this_application_takes_the_job_role():
    cloud = account()
    role, application = (cloud.one("Verger-dev-Job", kind) for kind in ("AWS::IAM::Role", "AWS::EMRServerless::Application"))
    other = cloud.one("Verger-prod-Job", "AWS::EMRServerless::Application")

    def take(principal: str, **context: str) -> Request:
        return assume(role, principal, "sts:AssumeRole", context)

    def by(source: Any, number: str = cloud.number) -> dict[str, str]:
        return {"aws:SourceArn": source, "aws:SourceAccount": number}

    assert (
        ask(
            [
                take(EMR, **by(application.arn)),
                take(EMR, **by(other.arn)),
                take(EMR, **by(application.arn.replace(cloud.number, "999999999999"), "999999999999")),
                take(EMR, **by(application.arn, "999999999999")),
                take(EMR),
                take("lambda.amazonaws.com", **by(application.arn)),
                take(f"arn:aws:iam::{cloud.number}:user/someone"),
            ]
        )
        == ["Allowed"] + ["ImplicitlyDenied"] * 6
    )


@pytest.mark.parametrize(
    ("role", "subjects"),
    [
        ("DeliveryDiffRole", [f"repo:{REPO}:environment:dev-diff", f"repo:{REPO}:environment:prod-diff"]),
        ("DeliveryDeployRole", [f"repo:{REPO}:environment:dev", f"repo:{REPO}:environment:prod"]),
        ("DeliveryGcRole", [f"repo:{REPO}:environment:dev-gc", f"repo:{REPO}:environment:prod-gc"]),
        ("DeliveryRunRoleDev", [f"repo:{REPO}:environment:dev-run"]),
        ("DeliveryRunRoleProd", [f"repo:{REPO}:environment:prod-run"]),
    ],
)
def test_github_takes_a_role_only_from_its_environments(role, subjects):
    cloud = account()
    resource = cloud.one("Verger-Delivery", "AWS::IAM::Role", id_=role)
    provider = cloud.one("Verger-Delivery", "AWS::IAM::OIDCProvider").arn
    environments = [f"{name}{suffix}" for name in ("dev", "prod") for suffix in ("", "-diff", "-gc", "-run")]
    strangers = [
        *(subject for name in environments if (subject := f"repo:{REPO}:environment:{name}") not in subjects),
        *(subject.replace(REPO, stranger) for subject in subjects for stranger in ("example/other", "other/verger", f"{REPO}-fork")),
        *(f"repo:{REPO}:{claim}" for claim in ("ref:refs/heads/main", "pull_request", "environment:", "environment:development", "*")),
        *(f"{subject}2" for subject in subjects),
    ]

    def take(subject: str, audience: str = "sts.amazonaws.com", principal: str = provider) -> Request:
        context = {f"{GITHUB}:sub": subject, f"{GITHUB}:aud": audience}
        return assume(resource, principal, "sts:AssumeRoleWithWebIdentity", context)

    allowed = [take(subject) for subject in subjects]
    elsewhere = f"arn:aws:iam::{cloud.number}:oidc-provider/gitlab.example.org"
    refused = [*map(take, strangers), take(subjects[0], audience="https://github.com/example"), take(subjects[0], principal=elsewhere)]
    given = ask([*allowed, *refused])
    assert given == ["Allowed"] * len(allowed) + ["ImplicitlyDenied"] * len(refused)


def assume(role: Resource, principal: str, action: str, context: Context) -> Request:
    return Request(principal, action, role.arn, account().number, context, resource_policy=role.properties["AssumeRolePolicyDocument"])
