"""The templates as they would be once deployed: each reference is the ARN or the name that the resource would get.

CloudFormation names a resource STACK-LOGICALID-RANDOM where the template does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

RANDOM = "0RANDOM0CHARS"
ID = "00f1example0000"  # of an application or a key: the service picks it
GITHUB = "token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Resource:
    """A resource of a template; `properties` are resolved."""

    stack: str
    logical_id: str
    type: str
    properties: Any
    name: str
    arn: str


@dataclass(frozen=True)
class Account:
    """Stacks in one region of an account. templates: by name of the stack, as CDK writes them."""

    templates: Mapping[str, Any]
    partition: str = "aws"
    region: str = "eu-west-1"
    number: str = "111122223333"
    url_suffix: str = "amazonaws.com"

    @cached_property
    def resources(self) -> list[Resource]:
        return [self._resource(stack, key) for stack, template in self.templates.items() for key in template["Resources"]]

    def one(self, stack: str, kind: str, *, id_: str = "") -> Resource:
        """The resource of that type in that stack whose logical id begins with `id_`."""
        (found,) = (each for each in self.resources if (each.stack, each.type) == (stack, kind) and each.logical_id.startswith(id_))
        return found

    def all(self, kind: str) -> list[Resource]:
        return [each for each in self.resources if each.type == kind]

    def policies_of(self, role: Resource) -> list[Any]:
        """Documents of the inline policies that the template gives to a role."""
        attached = [each for each in self.all("AWS::IAM::Policy") if role.name in each.properties["Roles"]]
        return [each.properties["PolicyDocument"] for each in attached]

    def boundary_of(self, role: Resource) -> Any | None:
        """The document of the role's permissions boundary."""
        arn = role.properties.get("PermissionsBoundary")
        return next((each.properties["PolicyDocument"] for each in self.all("AWS::IAM::ManagedPolicy") if each.arn == arn), None)

    def arn(self, service: str, resource: str, *, where: str | None = None) -> str:
        place = f"{self.region}:{self.number}" if where is None else where
        return f"arn:{self.partition}:{service}:{place}:{resource}"

    def resource_policy(self, arn: str) -> Any | None:
        """What the bucket, topic or key of this ARN (or the bucket of this object) says of who may use it."""
        buckets = {each.properties["Bucket"]: each.properties["PolicyDocument"] for each in self.all("AWS::S3::BucketPolicy")}
        topics = {
            topic: each.properties["PolicyDocument"] for each in self.all("AWS::SNS::TopicPolicy") for topic in each.properties["Topics"]
        }
        keys = {each.arn: each.properties["KeyPolicy"] for each in self.all("AWS::KMS::Key")}
        return buckets.get(arn.rpartition(":")[2].partition("/")[0]) or (topics | keys).get(arn)

    def _resource(self, stack: str, logical_id: str) -> Resource:
        template = self.templates[stack]["Resources"][logical_id]
        properties = self.resolve(template.get("Properties", {}), stack)
        name, arn = self._identity(stack, logical_id)
        return Resource(stack, logical_id, template["Type"], properties, name, arn)

    def _identity(self, stack: str, logical_id: str) -> tuple[str, str]:
        """What Ref gives, and the ARN."""
        template = self.templates[stack]["Resources"][logical_id]
        name = f"{stack}-{logical_id}-{RANDOM}"
        role = f"{name[: 63 - len(RANDOM)].rstrip('-')}-{RANDOM}"  # at most 64 characters
        properties = template.get("Properties", {})
        given = self.resolve(properties.get("ManagedPolicyName", name), stack)
        path = properties.get("Name")
        here: dict[str, tuple[str, str]] = {
            "AWS::S3::Bucket": (name.lower(), self.arn("s3", name.lower(), where=":")),
            "AWS::KMS::Key": (f"{ID}-{stack}", self.arn("kms", f"key/{ID}-{stack}")),
            "AWS::IAM::Role": (role, self._global("iam", f"role/{role}")),
            "AWS::IAM::ManagedPolicy": (self._global("iam", f"policy/{given}"), self._global("iam", f"policy/{given}")),
            "AWS::IAM::OIDCProvider": (self._global("iam", f"oidc-provider/{GITHUB}"), self._global("iam", f"oidc-provider/{GITHUB}")),
            "AWS::EMRServerless::Application": (f"{ID}-{stack}", self.arn("emr-serverless", f"/applications/{ID}-{stack}")),
            "AWS::Logs::LogGroup": (name, self.arn("logs", f"log-group:{name}")),
            "AWS::SSM::Parameter": (str(path), self.arn("ssm", f"parameter{path}")),
            "AWS::SNS::Topic": (self.arn("sns", name), self.arn("sns", name)),
            "AWS::SNS::Subscription": (self.arn("sns", f"{name}:{ID}"), self.arn("sns", f"{name}:{ID}")),
            "AWS::Events::Rule": (name, self.arn("events", f"rule/{name}")),
            "AWS::CloudWatch::Alarm": (name, self.arn("cloudwatch", f"alarm:{name}")),
            "AWS::CloudWatch::Dashboard": (name, self._global("cloudwatch", f"dashboard/{logical_id}-{RANDOM}")),
            "AWS::Budgets::Budget": (name, self._global("budgets", f"budget/{logical_id}-{RANDOM}")),
            "AWS::Lambda::Function": (role, self.arn("lambda", f"function:{role}")),
        }
        return here.get(template["Type"], (name, ""))

    def _global(self, service: str, resource: str) -> str:
        return self.arn(service, resource, where=f":{self.number}")

    def resolve(self, value: Any, stack: str) -> Any:
        """`value` without intrinsic functions. KeyError for one that this does not know."""
        if isinstance(value, list):
            return [self.resolve(each, stack) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and re.match("Ref$|Fn::", name := next(iter(value))):
            return self._functions[name](value[name], stack)
        return {key: self.resolve(each, stack) for key, each in value.items()}

    @property
    def _functions(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {
            "Ref": self._ref,
            "Fn::GetAtt": self._attribute,
            "Fn::Join": lambda value, stack: value[0].join(map(str, self.resolve(value[1], stack))),
            "Fn::Sub": lambda value, stack: re.sub(r"\$\{([\w:]+)\}", lambda found: self._ref(found[1], stack), value),
            "Fn::GetStackOutput": lambda value, _: self.resolve(
                self.templates[value["StackName"]]["Outputs"][value["OutputName"]]["Value"], value["StackName"]
            ),
        }

    def _ref(self, name: str, stack: str) -> str:
        pseudo = {"Partition": self.partition, "Region": self.region, "AccountId": self.number, "URLSuffix": self.url_suffix}
        if name.startswith("AWS::"):
            return pseudo[name.removeprefix("AWS::")]
        if name in self.templates[stack]["Resources"]:
            return self._identity(stack, name)[0]
        return f"parameter-{name}"

    def _attribute(self, value: list[str], stack: str) -> str:
        logical_id, attribute = value
        name, arn = self._identity(stack, logical_id)
        kind = self.templates[stack]["Resources"][logical_id]["Type"]
        if kind == "AWS::Logs::LogGroup":
            return f"{arn}:*"  # as the service returns it
        return arn if attribute.endswith("Arn") else arn.rpartition("/")[2] if attribute == "ApplicationId" else name


def read_templates(folder: Path) -> dict[str, Any]:
    return {file.name.removesuffix(".template.json"): json.loads(file.read_text()) for file in sorted(folder.glob("*.template.json"))}


def statements(document: Any) -> Iterator[dict[str, Any]]:
    """Statements of a policy, with every field that may be a list being one."""
    for statement in document["Statement"]:
        lists = {key: [each] if isinstance(each, str) else each for key, each in statement.items() if key in ("Action", "Resource")}
        yield {**statement, **lists}
