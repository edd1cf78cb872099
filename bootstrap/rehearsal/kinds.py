"""Types of resources that moto's CloudFormation does not have, or gets wrong, made through the services' own API.

As in AWS, a resource is what its service's calls make of it: botocore checks every property's name and type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from bootstrap.rehearsal.local import ACCOUNT

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A resource that exists: what Ref gives, and what Fn::GetAtt gives."""

    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource. create: from the name that CloudFormation would choose, and the properties."""

    type: str
    create: Callable[[str, Properties], Made]
    update: Callable[[Made, Properties], None]
    delete: Callable[[Made], None]


def service_kinds() -> list[Kind]:
    """Those of AWS' services, and CDK's own."""
    return [
        _key(),
        _parameter(),
        _bucket_policy(),
        _emptied_bucket(),
        _topic_policy(),
        _subscription(),
        _alarm(),
        _budget(),
        _identity_provider(),
        _managed_policy(),
    ]


def _parameter() -> Kind:
    """moto has this type, and takes its tags for a list: they are a map."""

    def put(properties: Properties, **how: Any) -> Made:
        given = {name: value for name, value in properties.items() if name != "Tags"}
        boto3.client("ssm").put_parameter(**given, **how)
        return Made(properties["Name"], {"Value": properties["Value"]})

    def create(_name: str, properties: Properties) -> Made:
        return put(properties, Tags=[{"Key": key, "Value": value} for key, value in properties.get("Tags", {}).items()])

    def update(made: Made, properties: Properties) -> None:
        if properties["Name"] != made.id:
            fixed(made, properties)
        put(properties, Overwrite=True)

    return Kind("AWS::SSM::Parameter", create, update, lambda made: boto3.client("ssm").delete_parameter(Name=made.id))


def _key() -> Kind:
    """moto has this type, and takes the names of its tags for the API's; it neither updates nor deletes one."""

    def create(_name: str, properties: Properties) -> Made:
        kms = boto3.client("kms")
        tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties.get("Tags", [])]
        described = kms.create_key(Description=properties.get("Description", ""), Policy=json.dumps(properties["KeyPolicy"]), Tags=tags)
        made = Made(described["KeyMetadata"]["KeyId"], {"Arn": described["KeyMetadata"]["Arn"]})
        if properties.get("EnableKeyRotation"):
            kms.enable_key_rotation(KeyId=made.id)
        return made

    def update(made: Made, properties: Properties) -> None:
        boto3.client("kms").put_key_policy(KeyId=made.id, PolicyName="default", Policy=json.dumps(properties["KeyPolicy"]))

    return Kind("AWS::KMS::Key", create, update, lambda made: boto3.client("kms").schedule_key_deletion(KeyId=made.id))


def _bucket_policy() -> Kind:
    def put(bucket: str, properties: Properties) -> None:
        boto3.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(properties["PolicyDocument"]))

    def create(_name: str, properties: Properties) -> Made:
        put(properties["Bucket"], properties)
        return Made(properties["Bucket"])

    return Kind(
        "AWS::S3::BucketPolicy",
        create,
        lambda made, properties: put(made.id, properties),
        lambda made: boto3.client("s3").delete_bucket_policy(Bucket=made.id),
    )


def _topic_policy() -> Kind:
    def put(properties: Properties) -> None:
        for topic in properties["Topics"]:
            policy = json.dumps(properties["PolicyDocument"])
            boto3.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)

    def create(name: str, properties: Properties) -> Made:
        put(properties)
        return Made(name)

    return Kind("AWS::SNS::TopicPolicy", create, lambda _made, properties: put(properties), lambda _made: None)


def _subscription() -> Kind:
    def create(_name: str, properties: Properties) -> Made:
        made = boto3.client("sns").subscribe(**properties, ReturnSubscriptionArn=True)
        return Made(made["SubscriptionArn"])

    return Kind("AWS::SNS::Subscription", create, fixed, lambda made: boto3.client("sns").unsubscribe(SubscriptionArn=made.id))


def _alarm() -> Kind:
    def put(name: str, properties: Properties) -> Made:
        boto3.client("cloudwatch").put_metric_alarm(AlarmName=name, **properties)
        [alarm] = boto3.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return Made(name, {"Arn": alarm["AlarmArn"]})

    def update(made: Made, properties: Properties) -> None:
        put(made.id, properties)

    return Kind("AWS::CloudWatch::Alarm", put, update, lambda made: boto3.client("cloudwatch").delete_alarms(AlarmNames=[made.id]))


def _budget() -> Kind:
    def create(name: str, properties: Properties) -> Made:
        budget, listeners = properties["Budget"], properties.get("NotificationsWithSubscribers", [])
        limit = {key: str(value) for key, value in budget["BudgetLimit"].items()}
        boto3.client("budgets").create_budget(
            AccountId=ACCOUNT, Budget=budget | {"BudgetName": name, "BudgetLimit": limit}, NotificationsWithSubscribers=listeners
        )
        return Made(name)

    def delete(made: Made) -> None:
        boto3.client("budgets").delete_budget(AccountId=ACCOUNT, BudgetName=made.id)

    return Kind("AWS::Budgets::Budget", create, fixed, delete)


def _identity_provider() -> Kind:
    def create(_name: str, properties: Properties) -> Made:
        made = boto3.client("iam").create_open_id_connect_provider(
            Url=properties["Url"], ClientIDList=properties["ClientIdList"], ThumbprintList=properties.get("ThumbprintList", ["0" * 40])
        )
        return Made(made["OpenIDConnectProviderArn"], {"Arn": made["OpenIDConnectProviderArn"]})

    def delete(made: Made) -> None:
        boto3.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=made.id)

    return Kind("AWS::IAM::OIDCProvider", create, fixed, delete)


def _managed_policy() -> Kind:
    """moto has this type, and neither updates nor deletes one."""

    def create(name: str, properties: Properties) -> Made:
        if attached := properties.keys() & {"Roles", "Users", "Groups"}:
            raise NotImplementedError(f"the stand-in attaches no managed policy by {attached.pop()}")
        made = boto3.client("iam").create_policy(
            PolicyName=properties.get("ManagedPolicyName", name),
            Path=properties.get("Path", "/"),
            Description=properties.get("Description", ""),
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
        )
        return Made(made["Policy"]["Arn"], {"PolicyArn": made["Policy"]["Arn"]})

    def update(made: Made, properties: Properties) -> None:
        document = json.dumps(properties["PolicyDocument"])
        boto3.client("iam").create_policy_version(PolicyArn=made.id, PolicyDocument=document, SetAsDefault=True)

    return Kind("AWS::IAM::ManagedPolicy", create, update, lambda made: boto3.client("iam").delete_policy(PolicyArn=made.id))


def _emptied_bucket() -> Kind:
    """CDK's function that empties a bucket before it is deleted: it takes a Lambda, and that a container. Here is what it does."""

    def delete(made: Made) -> None:
        bucket = boto3.resource("s3").Bucket(made.id)
        tags = {tag["Key"]: tag["Value"] for tag in bucket.Tagging().tag_set}
        if tags.get("aws-cdk:auto-delete-objects") == "true":
            bucket.object_versions.delete()

    return Kind("Custom::S3AutoDeleteObjects", lambda _name, properties: Made(properties["BucketName"]), fixed, delete)


def fixed(made: Made, _properties: Properties) -> None:
    raise NotImplementedError(f"the stand-in cannot update {made.id}")
