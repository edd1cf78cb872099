"""What CloudFormation may do: enough for every resource in our templates, and no way up from there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.infra.account import ALBUMS, account
from tests.infra.deployed import Account, Resource, statements
from tests.infra.reference import expand, formats, handlers, has_key, overlap
from tests.infra.simulator import Context, Request, ask

LONGEST = [("aws", "ap-southeast-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-northwest-1"), ("aws-iso-f", "us-isof-south-1")]
LINKED = "ops.emr-serverless.amazonaws.com"
OURS = {"aws:ResourceTag/verger:project": "verger"}
LOGS = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"

# What handlers call only for properties that no template of ours sets: type, actions, which properties.
UNUSED: list[tuple[str, str, str]] = [
    ("AWS::S3::Bucket", r"s3tables:.*|s3:.*Metadata.*", "metadata tables"),
    ("AWS::S3::Bucket", r"s3:Put(Analytics|Inventory|Metrics|Accelerate|Replication|IntelligentTiering)Configuration", "those settings"),
    ("AWS::S3::Bucket", r"s3:(Put|Delete)Bucket(CORS|Notification|Website|Abac|Logging|Acl|ObjectLockConfiguration)", "those settings"),
    ("AWS::S3::Bucket", r"s3:(PutObjectAcl|DeleteObject)|iam:PassRole", "replication and access control lists"),
    ("AWS::KMS::Key", r"kms:(Disable|Enable)Key|kms:DisableKeyRotation", "a key that is off, or is not rotated"),
    ("AWS::EMRServerless::Application", r"(kms|ecr|sso):.*", "disk encryption, images, identity centre"),
    ("AWS::Lambda::Function", r"(ec2|elasticfilesystem|s3files|kms):.*|s3:GetObjectVersion", "networks, file systems, keys, versions"),
    ("AWS::Lambda::Function", r"lambda:(Put|Delete)Function\w+|lambda:(PublishVersion|PutRuntimeManagementConfig)", "limits and versions"),
    (
        "AWS::Lambda::Function",
        r"lambda:(GetLayerVersion|GetCodeSigningConfig|PassCapacityProvider|AssociateRuntimeAlias)",
        "layers, signing",
    ),
    ("AWS::Logs::LogGroup", r"(firehose|s3):.*|logs:CreateLogDelivery|logs:(Put|Delete)(DataProtection|Resource|Index)Policy", "policies"),
    ("AWS::Logs::LogGroup", r"logs:(Associate|Disassociate)KmsKey|logs:Put(BearerTokenAuthentication|LogGroupDeletionProtection)", "keys"),
    ("AWS::SNS::Topic", r"iam:.*|sns:PutDataProtectionPolicy", "delivery status, data protection"),
    ("AWS::SNS::Subscription", r"iam:.*|sns:SetSubscriptionAttributes", "Firehose, filters"),
    ("AWS::Events::Rule", r"iam:PassRole", "a role of the target"),
    ("AWS::Budgets::Budget", r"billing:GetBillingViewData", "a billing view of its own"),
    ("AWS::IAM::Role", r"iam:DeleteRolePermissionsBoundary", "no boundary"),
    ("AWS::IAM::Policy", r"iam:\w+(User|Group)Policy", "users and groups"),
]


def policies(cloud: Account) -> list[Any]:
    return [each.properties["PolicyDocument"] for each in cloud.all("AWS::IAM::ManagedPolicy") if each.stack == "Verger-Delivery"]


def boundary(cloud: Account) -> str:
    return cloud.one("Verger-Boundary", "AWS::IAM::ManagedPolicy").arn


@pytest.mark.parametrize(("partition", "region"), LONGEST)
def test_each_policy_fits_into_a_managed_policy(partition, region):
    cloud = Account(account().templates, partition, region)
    sizes = [len(json.dumps(policy, separators=(",", ":"))) for policy in policies(cloud)]
    assert sizes
    assert max(sizes) <= 6144  # "IAM and STS quotas", IAM User Guide; blanks do not count


def needs(resource: Resource) -> Iterator[tuple[str, str]]:
    """What handlers call for this resource, and when: create, read, update or delete."""
    unused = [pattern for kind, pattern, _ in UNUSED if kind == resource.type]
    for phase, actions in handlers(resource.type).items():
        for action in actions:
            if not any(re.fullmatch(pattern, action) for pattern in unused):
                yield phase, action


def targets(cloud: Account, resource: Resource, action: str) -> list[str]:
    """The ARNs that a handler's call is about."""
    properties = resource.properties
    if not formats(action):
        return ["*"]
    if action == "ec2:CreateNetworkInterface":
        return [cloud.arn("ec2", each) for each in ("network-interface/eni-1", "subnet/subnet-1", "security-group/sg-1")]
    if action == "iam:CreateServiceLinkedRole":
        return [cloud.arn("iam", f"role/aws-service-role/{LINKED}/AWSServiceRoleForAmazonEMRServerless", where=f":{cloud.number}")]
    if action == "iam:PassRole":
        return [properties["Role"]]
    if action == "s3:GetObject":
        return [f"arn:aws:s3:::{properties['Code']['S3Bucket']}/{properties['Code']['S3Key']}"]
    match resource.type:
        case "AWS::IAM::Policy":
            return [role.arn for role in cloud.all("AWS::IAM::Role") if role.name in properties["Roles"]]
        case "AWS::S3::BucketPolicy":
            return [f"arn:aws:s3:::{properties['Bucket']}"]
        case "AWS::SNS::TopicPolicy":
            return properties["Topics"]
        case "AWS::SNS::Subscription":
            return [properties["TopicArn"]]
    return [resource.arn]


def context(phase: str, action: str) -> Context:
    """Condition keys of a handler's call. What is being created has no tags yet, and a change may bring any tag."""
    creates = phase == "create" and re.match(r"\w[\w-]*:(Create|Tag)", action)
    keys = {
        **({"aws:RequestTag/verger:project": "verger"} if creates else OURS),
        "iam:PassedToService": "lambda.amazonaws.com",
        "iam:PolicyARN": LOGS,
        "iam:PermissionsBoundary": boundary(account()),
        "iam:AWSServiceName": LINKED,
        "aws:CalledViaLast": LINKED,
    }
    return {key: value for key, value in keys.items() if has_key(action, key) and not (action.startswith("s3:") and "Tag" in key)}


def test_the_policy_suffices_for_what_cloudformation_does_to_each_resource():
    cloud = account()
    calls = {
        (action, target, tuple(context(phase, action).items()))
        for resource in cloud.resources
        if resource.stack not in ("Verger-Boundary", "Verger-Delivery") and resource.type.startswith("AWS::")
        for phase, action in needs(resource)
        for target in targets(cloud, resource, action)
    }
    ordered = sorted(calls)
    given = ask([request(cloud, action, target, dict(keys)) for action, target, keys in ordered])
    assert [call for call, answer in zip(ordered, given, strict=True) if answer != "Allowed"] == []


def test_the_policy_suffices_for_what_templates_ask_for_beside_resources():
    cloud = account()
    text = json.dumps(list(cloud.templates.values()))
    outputs = {name for name in re.findall(r'"StackName": "([\w-]+)"', text) if not name.startswith("Verger-Delivery")}
    emptied = [each.properties["ServiceToken"] for each in cloud.all("Custom::S3AutoDeleteObjects")]
    assert outputs
    assert emptied
    calls = [
        *(("cloudformation:DescribeStacks", cloud.arn("cloudformation", f"stack/{name}/1")) for name in outputs),
        *(("lambda:InvokeFunction", function) for function in emptied),
        ("ssm:GetParameters", cloud.arn("ssm", "parameter/cdk-bootstrap/hnb659fds/version")),
    ]
    assert ask([request(cloud, *call) for call in calls]) == ["Allowed"] * len(calls)


def test_each_exemption_is_of_a_call_that_a_handler_makes():
    made = {kind: {action for actions in handlers(kind).values() for action in actions} for kind, *_ in UNUSED}
    assert [pattern for kind, pattern, _ in UNUSED if not any(re.fullmatch(pattern, action) for action in made[kind])] == []


def request(cloud: Account, action: str, resource: str, keys: Context | None = None) -> Request:
    role = f"arn:aws:iam::{cloud.number}:role/cdk-hnb659fds-cfn-exec-role-{cloud.number}-{cloud.region}"
    return Request(role, action, resource, cloud.number, keys or {}, policies(cloud), resource_policy=cloud.resource_policy(resource))


def refused(calls: Sequence[tuple[str, str] | tuple[str, str, Context]]) -> None:
    cloud = account()
    given = ask([request(cloud, *call) for call in calls])
    assert [call for call, answer in zip(calls, given, strict=True) if answer == "Allowed"] == []


def iam(resource: str) -> str:
    return f"arn:aws:iam::111122223333:{resource}"


def here(service: str, resource: str) -> str:
    return f"arn:aws:{service}:eu-west-1:111122223333:{resource}"


def test_cloudformation_changes_nothing_that_says_what_ci_may_do():
    cloud = account()
    mine = [policy.arn for policy in cloud.all("AWS::IAM::ManagedPolicy")]  # the boundary as well
    delivery = [role.arn for role in cloud.all("AWS::IAM::Role") if role.stack == "Verger-Delivery"]
    provider = cloud.one("Verger-Delivery", "AWS::IAM::OIDCProvider").arn
    changes = ("PutRolePolicy", "UpdateAssumeRolePolicy", "DeleteRole", "CreateRole", "DeleteRolePolicy")
    refused(
        [
            *((f"iam:{change}", role, bounded(f"iam:{change}")) for role in delivery for change in changes),
            *(("iam:AttachRolePolicy", role, {"iam:PolicyARN": LOGS}) for role in delivery),
            *(
                (f"iam:{change}", policy)
                for policy in mine
                for change in ("CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy", "CreatePolicy")
            ),
            ("iam:CreateOpenIDConnectProvider", provider),
            ("iam:AddClientIDToOpenIDConnectProvider", provider),
            ("iam:UpdateOpenIDConnectProviderThumbprint", provider),
            ("iam:PutRolePolicy", iam("role/cdk-hnb659fds-cfn-exec-role-111122223333-eu-west-1")),
            ("iam:UpdateAssumeRolePolicy", iam("role/cdk-hnb659fds-deploy-role-111122223333-eu-west-1")),
        ]
    )


def test_cloudformation_makes_nobody_that_is_not_a_role_of_an_environment():
    within = {"iam:PermissionsBoundary": boundary(account())}
    refused(
        [
            ("iam:CreateRole", iam("role/Admin"), within),
            ("iam:CreateRole", iam("role/Verger-dev"), within),
            ("iam:CreateUser", iam("user/someone")),
            ("iam:CreateAccessKey", iam("user/someone")),
            ("iam:CreatePolicy", iam("policy/Verger-dev-Job-Policy")),
            ("iam:CreateServiceLinkedRole", iam("role/aws-service-role/ec2.amazonaws.com/x"), {"iam:AWSServiceName": "ec2.amazonaws.com"}),
            ("sts:AssumeRole", iam("role/Admin")),
        ]
    )


def bounded(action: str) -> Context:
    return {"iam:PermissionsBoundary": boundary(account())} if has_key(action, "iam:PermissionsBoundary") else {}


def test_cloudformation_makes_no_role_without_the_boundary_and_takes_it_from_none():
    cloud = account()
    role = cloud.one("Verger-dev-Job", "AWS::IAM::Role").arn
    giving = [f"iam:{action}" for action in ("CreateRole", "PutRolePolicy", "PutRolePermissionsBoundary")]
    refused(
        [
            *((action, role) for action in giving),
            *((action, role, {"iam:PermissionsBoundary": ADMINISTRATOR}) for action in giving),
            ("iam:DeleteRolePermissionsBoundary", role, {"iam:PermissionsBoundary": boundary(cloud)}),
        ]
    )


def test_every_role_of_an_environment_has_the_boundary():
    cloud = account()
    roles = [role for role in cloud.all("AWS::IAM::Role") if role.stack != "Verger-Delivery"]
    assert {role.stack.split("-")[1] for role in roles} == {"dev", "prod", "full", "later"}
    assert {role.properties.get("PermissionsBoundary") for role in roles} == {boundary(cloud)}


def test_no_policy_takes_a_role_beyond_the_boundary():
    """A run's role with every permission that there is may do no more than this."""
    cloud = account()
    role = cloud.one("Verger-full-Job", "AWS::IAM::Role")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    beyond = [
        ("iam:CreateUser", iam("user/someone")),
        ("iam:PassRole", role.arn),
        ("sts:AssumeRole", iam("role/Admin")),
        ("s3:GetObject", "arn:aws:s3:::payroll/1.csv"),
        ("s3:PutObject", "arn:aws:s3:::photos/1.jpg"),
        ("s3:PutObject", "arn:aws:s3:::cdk-hnb659fds-assets-111122223333-eu-west-1/artifacts/full/0.zip"),
        ("s3:DeleteBucket", cloud.one("Verger-full-Storage", "AWS::S3::Bucket").arn),
        ("kms:Decrypt", cloud.one("Verger-full-Storage", "AWS::KMS::Key").arn),
        ("ssm:GetParameter", here("ssm", "parameter/payroll")),
        ("secretsmanager:GetSecretValue", here("secretsmanager", "secret:payroll-AbCdEf")),
        ("ec2:RunInstances", here("ec2", "instance/i-1")),
        ("lambda:InvokeFunction", here("lambda", "function:payroll")),
        ("emr-serverless:StartJobRun", here("emr-serverless", "/applications/1")),
        ("logs:PutLogEvents", here("logs", "log-group:payroll:log-stream:1")),
    ]
    free = [
        Request(role.arn, *call, cloud.number, policies=[everything], resource_policy=cloud.resource_policy(call[1])) for call in beyond
    ]
    assert ask(free) == ["Allowed"] * len(beyond)
    assert ask([replace(each, boundary=cloud.boundary_of(role)) for each in free]) == ["ImplicitlyDenied"] * len(beyond)


def test_the_boundary_is_for_environments_that_are_not_synthesised_as_well():
    cloud = account()
    own = cloud.one("Verger-Boundary", "AWS::IAM::ManagedPolicy").properties["PolicyDocument"]
    role = cloud.one("Verger-dev-Job", "AWS::IAM::Role").arn
    assert ask([Request(role, "s3:GetObject", f"{ALBUMS}/1.jpg", cloud.number, policies=[own])]) == ["Allowed"]


def test_the_boundary_has_no_action_that_no_role_of_an_environment_needs():
    cloud = account()
    roles = [role for role in cloud.all("AWS::IAM::Role") if role.properties.get("PermissionsBoundary")]
    granted = [each.properties["PolicyDocument"] for each in cloud.all("AWS::S3::BucketPolicy")]
    documents = [*granted, *(policy for role in roles for policy in cloud.policies_of(role))]
    of_lambda = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]  # AWSLambdaBasicExecutionRole
    needed = [action for each in documents for body in statements(each) if body["Effect"] == "Allow" for action in body["Action"]]
    limits = [action for body in statements(cloud.boundary_of(roles[0])) for action in body["Action"]]
    assert [action for action in limits if action not in (*needed, *of_lambda)] == []


def test_the_boundary_leaves_the_bucket_cleaner_what_the_bucket_grants_it():
    """The grant is to the role by its ARN, so the boundary limits it ("Permissions boundaries", IAM User Guide)."""
    cloud = account()
    (role,) = (role for role in cloud.all("AWS::IAM::Role") if role.stack == "Verger-dev-Storage")
    bucket = cloud.one("Verger-dev-Storage", "AWS::S3::Bucket").arn
    document = cloud.resource_policy(bucket)
    (granted,) = (body for body in statements(document) if body["Effect"] == "Allow")
    assert granted["Principal"] == {"AWS": role.arn}
    calls = [
        (action, arn)
        for pattern in granted["Action"]
        for action in expand(pattern)
        for arn in (bucket, f"{bucket}/images/1.jpg")
        if any(overlap(each, arn) and ("/" in each) == ("/" in arn) for each in formats(action))
    ]
    limits = cloud.boundary_of(role)
    assert calls
    assert ask([Request(role.arn, *call, cloud.number, boundary=limits, resource_policy=document) for call in calls]) == ["Allowed"] * len(
        calls
    )


def test_a_role_of_an_environment_gets_no_managed_policy_but_the_logs_of_a_function():
    role = account().one("Verger-dev-Job", "AWS::IAM::Role").arn
    refused(
        [
            ("iam:AttachRolePolicy", role, {"iam:PolicyARN": ADMINISTRATOR}),
            ("iam:AttachRolePolicy", role, {"iam:PolicyARN": iam("policy/Verger-own")}),
            ("iam:AttachRolePolicy", role),
            ("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}),
            ("iam:PassRole", role),
            ("iam:PassRole", iam("role/Admin"), {"iam:PassedToService": "lambda.amazonaws.com"}),
        ]
    )


def test_cloudformation_reads_no_data_and_touches_nothing_of_others():
    cloud = account()
    bucket, application, key = (
        cloud.one(f"Verger-prod-{part}", kind).arn
        for part, kind in (("Storage", "AWS::S3::Bucket"), ("Job", "AWS::EMRServerless::Application"), ("Storage", "AWS::KMS::Key"))
    )
    theirs = {"aws:ResourceTag/verger:project": "other"}
    refused(
        [
            ("s3:GetObject", f"{bucket}/images/1.jpg"),
            ("s3:PutObject", f"{bucket}/images/1.jpg"),
            ("s3:DeleteObject", f"{bucket}/images/1.jpg"),
            ("s3:PutBucketPolicy", "arn:aws:s3:::photos"),
            ("s3:DeleteBucket", "arn:aws:s3:::photos"),
            ("s3:ListBucket", "arn:aws:s3:::photos"),
            ("s3:PutObject", "arn:aws:s3:::cdk-hnb659fds-assets-111122223333-eu-west-1/0.zip"),
            ("s3:GetObject", "arn:aws:s3:::cdk-hnb659fds-assets-999999999999-eu-west-1/0.zip"),
            *((f"kms:{action}", key, theirs) for action in ("PutKeyPolicy", "ScheduleKeyDeletion", "DescribeKey")),
            ("kms:ScheduleKeyDeletion", key),
            ("kms:Decrypt", key, OURS),
            ("kms:CreateKey", "*"),
            ("emr-serverless:DeleteApplication", application, theirs),
            ("emr-serverless:DeleteApplication", application),
            ("emr-serverless:StartJobRun", application, OURS),
            ("emr-serverless:CreateApplication", "*"),
            ("ec2:CreateNetworkInterface", here("ec2", "subnet/subnet-1")),
            ("lambda:UpdateFunctionCode", here("lambda", "function:payroll")),
            ("logs:DeleteLogGroup", here("logs", "log-group:payroll")),
            ("logs:GetLogEvents", f"{cloud.one('Verger-dev-Job', 'AWS::Logs::LogGroup').arn}:log-stream:1"),
            ("sns:Publish", here("sns", "Verger-dev-Watch-WatchTopic")),
            ("sns:DeleteTopic", here("sns", "payroll")),
            ("events:PutRule", here("events", "rule/payroll")),
            ("cloudwatch:DeleteAlarms", here("cloudwatch", "alarm:payroll")),
            ("ssm:PutParameter", here("ssm", "parameter/cdk-bootstrap/hnb659fds/version")),
            ("ssm:GetParameters", here("ssm", "parameter/payroll")),
            ("cloudformation:DescribeStacks", here("cloudformation", "stack/payroll/1")),
        ]
    )
