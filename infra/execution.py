"""What CloudFormation may do in the account when it deploys Verger: the policy for `cdk bootstrap`, instead of AdministratorAccess."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam

from infra.policies import allow, verbs

# CloudFormation names what it makes after the stack: Verger-dev-Job-..., and buckets in lower case.
STACKS, BUCKETS = "Verger-*", "verger-*"

TAGS = "ListTagsForResource TagResource UntagResource"  # as most services call it
TAGGED = {"StringEquals": {"aws:ResourceTag/verger:project": "verger"}}
TAGGING = {"StringEquals": {"aws:RequestTag/verger:project": "verger"}}


def execution_statements() -> list[iam.PolicyStatement]:
    """Statements for the resources that Verger's templates hold: by name, or by tag where CloudFormation picks no name."""
    return [*_storage(), *_identity(), *_application(), *_watch(), *_parameters()]


def _storage() -> list[iam.PolicyStatement]:
    bucket = "CreateBucket DeleteBucket DeleteBucketPolicy GetBucket* ListBucket PutBucket*"
    settings = "GetEncryptionConfiguration GetLifecycleConfiguration PutEncryptionConfiguration PutLifecycleConfiguration"
    key = "DescribeKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus ListResourceTags PutKeyPolicy ScheduleKeyDeletion TagResource"
    function = "CreateFunction DeleteFunction GetFunction* InvokeFunction ListTags TagResource UntagResource UpdateFunction*"
    return [
        allow("Buckets", verbs("s3", f"{bucket} {settings} {TAGS}"), [_arn("s3", BUCKETS, where=":")]),
        allow("ReadAssets", ["s3:GetObject"], [_arn("s3", f"cdk-*-assets-{Aws.ACCOUNT_ID}-{Aws.REGION}/*", where=":")]),
        allow("CreateKey", ["kms:CreateKey"], ["*"], TAGGING),  # a key has no name before it is there
        allow("Keys", verbs("kms", f"{key} UntagResource UpdateKeyDescription"), [_arn("kms", "key/*")], TAGGED),
        # The function that empties a disposable bucket, its role and its logs
        allow("BucketCleaner", verbs("lambda", function), [_arn("lambda", f"function:{STACKS}")]),
        allow("PassCleanersRole", ["iam:PassRole"], [_iam(f"role/{STACKS}")], _passed_to("lambda.amazonaws.com")),
    ]


def _identity() -> list[iam.PolicyStatement]:
    role = "CreateRole DeleteRole GetRole ListRoleTags TagRole UntagRole UpdateAssumeRolePolicy UpdateRole"
    inline = "AttachRolePolicy DeleteRolePolicy DetachRolePolicy GetRolePolicy ListAttachedRolePolicies ListRolePolicies PutRolePolicy"
    policy = "CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion GetPolicy GetPolicyVersion ListPolicyVersions"
    provider = " ".join(f"{verb}OpenIDConnectProvider" for verb in ("Create", "Delete", "Get", "Tag", "Untag"))
    clients = "AddClientIDToOpenIDConnectProvider RemoveClientIDFromOpenIDConnectProvider"
    return [
        allow("Roles", verbs("iam", f"{role} {inline}"), [_iam(f"role/{STACKS}")]),
        allow("Policies", verbs("iam", f"{policy} TagPolicy UntagPolicy"), [_iam(f"policy/{STACKS}")]),
        allow("GitHub", verbs("iam", f"{provider} {clients}"), [_iam("oidc-provider/token.actions.githubusercontent.com")]),
    ]


def _application() -> list[iam.PolicyStatement]:
    linked = "ops.emr-serverless.amazonaws.com"  # EMR Serverless makes this role with the first application of an account
    application = verbs("emr-serverless", "DeleteApplication GetApplication StopApplication UpdateApplication")
    logs = "CreateLogGroup DeleteLogGroup DeleteRetentionPolicy DescribeLogGroups PutRetentionPolicy"
    groups = [_arn("logs", f"log-group:{STACKS}"), _arn("logs", f"log-group:/aws/lambda/{STACKS}")]
    return [
        allow("CreateApplication", ["emr-serverless:CreateApplication"], [_arn("emr-serverless", "/*")], TAGGING),
        allow("Applications", application, [_arn("emr-serverless", "/applications/*")], TAGGED),
        allow("TagApplications", verbs("emr-serverless", TAGS), [_arn("emr-serverless", "/applications/*")]),
        allow(
            "ServiceLinkedRole",
            ["iam:CreateServiceLinkedRole"],
            [_iam(f"role/aws-service-role/{linked}/*")],
            {"StringEquals": {"iam:AWSServiceName": linked}},
        ),
        allow("LogGroups", verbs("logs", f"{logs} {TAGS}"), groups),
    ]


def _watch() -> list[iam.PolicyStatement]:
    rule = "DeleteRule DescribeRule ListTargetsByRule PutRule PutTargets RemoveTargets"
    topic = "CreateTopic DeleteTopic GetTopicAttributes ListSubscriptionsByTopic SetTopicAttributes Subscribe"
    alarm = "DeleteAlarms DescribeAlarms PutMetricAlarm"
    mail = [_arn("sns", STACKS), _arn("sns", f"{STACKS}:*")]
    return [
        allow("Rules", verbs("events", f"{rule} {TAGS}"), [_arn("events", f"rule/{STACKS}")]),
        allow("Topics", verbs("sns", f"{topic} {TAGS} GetSubscriptionAttributes Unsubscribe"), mail),
        allow("Alarms", verbs("cloudwatch", f"{alarm} {TAGS}"), [_arn("cloudwatch", f"alarm:{STACKS}")]),
        # A dashboard's ARN has no region, and its name is CloudFormation's: it begins with the construct's
        allow("Dashboards", verbs("cloudwatch", "DeleteDashboards GetDashboard PutDashboard"), [_global("cloudwatch", "dashboard/Watch*")]),
        allow("Budgets", verbs("budgets", f"ModifyBudget ViewBudget {TAGS}"), [_global("budgets", "budget/*")]),
    ]


def _parameters() -> list[iam.PolicyStatement]:
    parameter = "AddTagsToResource DeleteParameter GetParameters ListTagsForResource PutParameter RemoveTagsFromResource"
    return [
        allow("Parameters", verbs("ssm", parameter), [_arn("ssm", "parameter/verger/*")]),
        allow("BootstrapVersion", ["ssm:GetParameters"], [_arn("ssm", "parameter/cdk-bootstrap/*")]),
    ]


def _passed_to(service: str) -> dict[str, dict[str, object]]:
    return {"StringEquals": {"iam:PassedToService": service}}


def _arn(service: str, resource: str, *, where: str = f"{Aws.REGION}:{Aws.ACCOUNT_ID}") -> str:
    return f"arn:{Aws.PARTITION}:{service}:{where}:{resource}"


def _global(service: str, resource: str) -> str:
    return _arn(service, resource, where=f":{Aws.ACCOUNT_ID}")


def _iam(resource: str) -> str:
    return _global("iam", resource)
