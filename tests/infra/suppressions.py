"""Where the AwsSolutions rules of cdk-nag object and the stacks stay as they are, and why.

cdk-nag is a tool of the tests, not of the app: tests/infra/test_nag.py fails for a finding that has no line here, and for a
line that has no finding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suppression:
    """A rule that does not hold for a construct.

    rule       its name: S1 (server access logs) or IAM5 (wildcards)
    construct  regular expression of the construct's path
    finding    regular expression of what the rule found, "" where the rule does not say
    reason     why it stays
    """

    rule: str
    construct: str
    finding: str
    reason: str

    def covers(self, rule: str, construct: str, finding: str) -> bool:
        """Whether this is about that finding."""
        where = re.fullmatch(self.construct, construct)
        return bool(self.rule == rule and where and re.fullmatch(self.finding, finding))


BUCKET = r"Verger-\w+-Storage/Storage/Bucket/Resource"
JOB = r"Verger-\w+-Job/JobRole/Role/DefaultPolicy/Resource"
RUN = r"Verger-Delivery/Delivery/RunRole\w+/DefaultPolicy/Resource"
DIFF = r"Verger-Delivery/Delivery/DiffRole/DefaultPolicy/Resource"
GC = r"Verger-Delivery/Delivery/GcRole/DefaultPolicy/Resource"
EXECUTION = r"Verger-Delivery/Delivery/Execution\w+/Resource"

BOUNDARY = r"Verger-Boundary/Boundary/Policy/Resource"

SUPPRESSIONS = (
    Suppression(
        "AwsSolutions-S1",
        BUCKET,
        "",
        "Access logs need a second bucket and a line for each image that is read; who wants a record of access has CloudTrail's "
        "data events, which are the account's to switch on.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        JOB,
        r"Resource::.*/(images|artifacts|results|logs)/\*",
        "A prefix: the names below it are those of the images, the files of a run, and what runs write.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        JOB,
        r"Resource::.*/artifacts/\w+/\*",
        "Keys are digests. A run that waits in the queue must still read its own after the next deployment.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        JOB,
        r"Resource::\*",
        "logs:DescribeLogGroups, which the service asks for, can be limited no further (Service Authorization Reference).",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        JOB,
        r"Resource::arn:aws[a-z-]*:s3:::[^/]+/\*",
        "images_bucket_arn: a bucket of images that the environment names, all of which may be read.",
    ),
    Suppression("AwsSolutions-IAM5", RUN, r"Resource::.*/(results|logs)/\*", "A prefix: the names below it are what runs write."),
    Suppression("AwsSolutions-IAM5", DIFF, r"Resource::.*:stack/Verger-\w+-\*", "CloudFormation ends a stack's ARN with an id of its own."),
    Suppression(
        "AwsSolutions-IAM5",
        GC,
        r"Resource::(\*|arn:.*:stack/(CDKToolkit/)?\*)",
        "cdk gc lists all stacks, and reads every template: what any of them names is in use. CloudFormation ends an ARN with an id.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        GC,
        r"Resource::arn:.*:s3:::cdk-hnb659fds-assets-.*/\*",
        "cdk gc looks at the whole bucket. What is deleted stays an old version, which the role can neither read nor delete.",
    ),
    Suppression("AwsSolutions-IAM5", RUN, r"Resource::.*/jobruns/\*", "Runs of this one application; the service picks their ids."),
    Suppression(
        "AwsSolutions-IAM5",
        EXECUTION,
        r"Resource::arn:.*[:/][Vv]erger-.*\*",
        "CloudFormation names what it makes after the stack, with a random end.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        EXECUTION,
        r"Action::(s3:Get\S+|s3:Put\S+|lambda:\S+)",
        "CloudFormation reads back and writes every setting of a bucket and of the function that empties it; none of these "
        "actions reads an object.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        EXECUTION,
        r"Resource::(\*|arn:.*:emr-serverless:.*:/\*|.*:key/\*|.*:/applications/\*|.*:budget/\*|.*:ec2:.*/\*|.*:dashboard/Watch\*|.*/ops\..*/\*)",
        "The service picks the name, or it has none yet: the statement's condition on the tag, or the service, must do.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        EXECUTION,
        r"Resource::(arn:.*:parameter/(verger|cdk-bootstrap)/\*|arn:.*:s3:::cdk-\*-assets-<AWS::AccountId>-<AWS::Region>/\*)",
        "A prefix: the parameters of the environments, and what `cdk bootstrap` and `cdk deploy` put there.",
    ),
    Suppression(
        "AwsSolutions-IAM5",
        BOUNDARY,
        r"(Action|Resource)::.*",
        "A ceiling and no grant: it allows nothing that a role's own policy, which is far narrower, does not allow as well.",
    ),
)
