"""Tags: whose a resource is, and whose bill it is on."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import CfnResource, Stack, Tags

from infra.environments import Environment
from job.submission import ENVIRONMENT_TAG, PROJECT, PROJECT_TAG

LONGEST = 256  # characters of a tag's value
CLEANER = "Custom::S3AutoDeleteObjectsCustomResourceProvider"  # CDK's construct that empties a bucket


def tags_of(*environments: Environment) -> dict[str, str]:
    """The tags of what belongs to one environment, or to several at once."""
    name = environments[0].name if len(environments) == 1 else "all"
    centres = sorted({each.cost_centre for each in environments})
    return {PROJECT_TAG: PROJECT, ENVIRONMENT_TAG: name, "verger:cost-centre": " + ".join(centres)[:LONGEST]}


def tag(stack: Stack, tags: Mapping[str, str]) -> None:
    """Puts tags on everything in a stack that CDK knows to take them."""
    for name, value in tags.items():
        Tags.of(stack).add(name, value)


def tag_cleaner(stack: Stack, tags: Mapping[str, str]) -> None:
    """Puts tags on the function that empties a bucket, and on its role: CDK writes them as bare resources, which Tags passes by."""
    for part in ("Role", "Handler"):
        resource = stack.node.find_child(CLEANER).node.find_child(part)
        if isinstance(resource, CfnResource):
            resource.add_property_override("Tags", [{"Key": name, "Value": value} for name, value in tags.items()])
