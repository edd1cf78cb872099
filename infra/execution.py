"""What CloudFormation may do when it deploys an environment: the policies for `cdk bootstrap`, instead of AdministratorAccess.

It reaches neither Verger-Delivery, which holds these policies and the roles of CI, nor Verger-Boundary: whoever could change
those would be bound by nothing here. They are an administrator's to deploy.
"""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam

from infra.boundary import boundary_arn
from infra.policies import BUCKETS, NO_RESOURCE, STACKS, allow, arn, verbs

ROLES = ("Verger-*-Job-*", "Verger-*-Storage-*")  # of runs, and of the function that empties a bucket

TAGS = "ListTagsForResource TagResource UntagResource"  # as most services call it
TAGGED = {"StringEquals": {"aws:ResourceTag/verger:project": "verger"}}
TAGGING = {"StringEquals": {"aws:RequestTag/verger:project": "verger"}}
NO_NAME_YET = "it has no name before it is there, so its tag must do; the same holds for any that is tagged so"
ID_ONLY = "CloudFormation picks no name, so the tag must do"
UNKNOWN_NAME = "CloudFormation picks a name, by a rule that no document gives"


def execution_statements() -> dict[str, list[iam.PolicyStatement]]:
    """Statements for the resources that Verger's templates hold: by name, or by tag where CloudFormation picks no name.

    Two policies' worth: a managed policy has at most 6,144 characters.
    """
    return {"Storage": [*_stacks(), *_storage(), *_roles()], "Runs": [*_application(), *_watch()]}


def _stacks() -> list[iam.PolicyStatement]:
    parameter = "AddTagsToResource DeleteParameter GetParameters ListTagsForResource PutParameter RemoveTagsFromResource"
    return [
        # Fn::GetStackOutput, which hands values from stack to stack
        allow("Outputs", ["cloudformation:DescribeStacks"], [arn("cloudformation", f"stack/{STACKS}")]),
        allow("Parameters", verbs("ssm", parameter), [arn("ssm", "parameter/verger/*")]),
        allow("BootstrapVersion", ["ssm:GetParameters"], [arn("ssm", "parameter/cdk-bootstrap/*")]),
    ]


def _storage() -> list[iam.PolicyStatement]:
    bucket = "CreateBucket DeleteBucket DeleteBucketPolicy ListBucket PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock"
    settings = "PutBucketTagging PutBucketVersioning PutEncryptionConfiguration PutLifecycleConfiguration"
    made = "DescribeKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus ListResourceTags PutKeyPolicy ScheduleKeyDeletion"
    function = "CreateFunction DeleteFunction InvokeFunction ListTags TagResource UntagResource UpdateFunctionCode"
    return [
        allow("Buckets", verbs("s3", f"{bucket} {settings} {TAGS}"), [arn("s3", BUCKETS, where=":")]),
        allow(
            "ReadBuckets",
            ["s3:GetBucket*", "s3:Get*Configuration"],
            [arn("s3", BUCKETS, where=":")],
            because="CloudFormation reads every setting of a bucket back; none of these reads an object",
        ),
        allow("ReadAssets", ["s3:GetObject"], [arn("s3", f"cdk-*-assets-{Aws.ACCOUNT_ID}-{Aws.REGION}/*", where=":")]),
        allow("CreateKey", verbs("kms", "CreateKey TagResource"), ["*"], TAGGING, because=NO_NAME_YET),
        allow(
            "Keys", verbs("kms", f"{made} TagResource UntagResource UpdateKeyDescription"), [arn("kms", "key/*")], TAGGED, because=ID_ONLY
        ),
        # The function that empties a disposable bucket
        allow(
            "BucketCleaner",
            verbs("lambda", f"{function} GetFunction* GetRuntimeManagementConfig UpdateFunctionConfiguration"),
            [arn("lambda", f"function:{STACKS}")],
            because="CloudFormation reads every setting of a function back",
        ),
    ]


def _roles() -> list[iam.PolicyStatement]:
    """Roles of runs and of the bucket cleaner. Their permissions are what their templates say, and at most the boundary."""
    roles = [_iam(f"role/{name}") for name in ROLES]
    named = "DeleteRole GetRole ListRoleTags TagRole UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription"
    inline = "DeleteRolePolicy GetRolePolicy ListAttachedRolePolicies ListRolePolicies"
    giving = "CreateRole PutRolePermissionsBoundary PutRolePolicy"
    write_logs = f"arn:{Aws.PARTITION}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    return [
        allow("Roles", verbs("iam", f"{named} {inline}"), roles),
        allow("BoundRoles", verbs("iam", giving), roles, {"ArnEquals": {"iam:PermissionsBoundary": boundary_arn()}}),
        allow("CleanersLogs", verbs("iam", "AttachRolePolicy DetachRolePolicy"), roles, {"ArnEquals": {"iam:PolicyARN": write_logs}}),
        allow("PassCleanersRole", ["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}),
    ]


def _application() -> list[iam.PolicyStatement]:
    linked = "ops.emr-serverless.amazonaws.com"  # EMR Serverless makes this role with the first application of an account
    made = "DeleteApplication GetApplication StopApplication UpdateApplication"
    applications = [arn("emr-serverless", "/applications/*")]
    interfaces = [arn("ec2", f"{kind}/*") for kind in ("network-interface", "security-group", "subnet")]
    logs = "CreateLogGroup DeleteLogGroup DeleteRetentionPolicy GetDataProtectionPolicy PutRetentionPolicy"
    return [
        allow("CreateApplication", ["emr-serverless:CreateApplication"], ["*"], TAGGING, because=NO_RESOURCE),
        allow("TagApplications", ["emr-serverless:TagResource"], applications, TAGGING, because=NO_NAME_YET),
        allow("Applications", verbs("emr-serverless", f"{made} {TAGS}"), applications, TAGGED, because=ID_ONLY),
        allow(
            "JoinNetwork",
            ["ec2:CreateNetworkInterface"],
            interfaces,
            {"StringEquals": {"aws:CalledViaLast": linked}},
            because="EMR Serverless makes them, in the subnets and groups of the environment, whatever these are",
        ),
        allow(
            "ServiceLinkedRole",
            ["iam:CreateServiceLinkedRole"],
            [_iam(f"role/aws-service-role/{linked}/*")],
            {"StringEquals": {"iam:AWSServiceName": linked}},
        ),
        allow("LogGroups", verbs("logs", f"{logs} {TAGS}"), [arn("logs", f"log-group:{STACKS}")]),
        allow(
            "FindLogGroups", verbs("logs", "DescribeIndexPolicies DescribeLogGroups DescribeResourcePolicies"), ["*"], because=NO_RESOURCE
        ),
    ]


def _watch() -> list[iam.PolicyStatement]:
    rule = "DeleteRule DescribeRule ListTargetsByRule PutRule PutTargets RemoveTargets"
    topic = "CreateTopic DeleteTopic GetDataProtectionPolicy GetTopicAttributes ListSubscriptionsByTopic SetTopicAttributes Subscribe"
    # Its ARN has no region. CloudFormation names it after the construct (cloudformation-coverage-roadmap #783), others after the stack
    dashboards = [_global("cloudwatch", f"dashboard/{name}") for name in ("Watch*", STACKS)]
    return [
        allow("Rules", verbs("events", f"{rule} {TAGS}"), [arn("events", f"rule/{STACKS}")]),
        allow("Topics", verbs("sns", f"{topic} {TAGS} GetSubscriptionAttributes Unsubscribe"), [arn("sns", STACKS)]),
        allow("Alarms", verbs("cloudwatch", f"DeleteAlarms DescribeAlarms PutMetricAlarm {TAGS}"), [arn("cloudwatch", f"alarm:{STACKS}")]),
        allow("Dashboards", verbs("cloudwatch", f"DeleteDashboards GetDashboard PutDashboard {TAGS}"), dashboards),
        allow("Budgets", verbs("budgets", f"ModifyBudget ViewBudget {TAGS}"), [_global("budgets", "budget/*")], because=UNKNOWN_NAME),
    ]


def _global(service: str, resource: str) -> str:
    return arn(service, resource, where=f":{Aws.ACCOUNT_ID}")


def _iam(resource: str) -> str:
    return _global("iam", resource)
