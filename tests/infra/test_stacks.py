"""What holds for every stack, and the templates as they were when somebody last read them."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace

import pytest

from infra.environments import load_environments
from job.releases import DEFAULT_RELEASE
from tests.conftest import lacking
from tests.infra.account import account
from tests.infra.deployed import Account
from tests.infra.renew import SNAPSHOTS, snapshots

ACCOUNT = ("Verger-Boundary", "Verger-Delivery")
KEYS = ("verger:cost-centre", "verger:environment", "verger:project")


def tags(resource):
    """Tags of a resource in either of CloudFormation's forms."""
    found = resource.properties.get("Tags", resource.properties.get("ResourceTags", {}))
    return found if isinstance(found, dict) else {each["Key"]: each["Value"] for each in found}


def taggable(kind):
    """Whether CloudFormation's own schema of the resource has tags, as cfn-lint ships it."""
    if kind.startswith("Custom::"):
        return False
    try:
        from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
    except ImportError:
        lacking("no cfn-lint here")
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return schema.get("tagging", {}).get("taggable", False)


def test_the_stacks_are_these(assembly):
    parts = [f"Verger-{name}-{part}" for name in ("dev", "prod") for part in ("Storage", "Job", "Watch")]
    assert set(assembly.account.templates) == {*parts, "Verger-Boundary", "Verger-Delivery"}


def untagged(account):
    """What takes tags, and lacks one of ours."""
    return [f"{each.stack}/{each.logical_id}" for each in account.resources if taggable(each.type) and not set(KEYS) <= set(tags(each))]


def test_everything_that_takes_tags_says_whose_it_is():
    """With every option on, and with what empties a bucket that goes: CDK makes that by itself."""
    assert untagged(account()) == []
    kinds = {each.type for each in account().resources if taggable(each.type)}
    assert kinds >= {"AWS::S3::Bucket", "AWS::Lambda::Function", "AWS::IAM::Role", "AWS::IAM::OIDCProvider", "AWS::Budgets::Budget"}


def test_a_resource_without_tags_would_be_found():
    """Each of them, one at a time."""
    for each in account().resources:
        if taggable(each.type):
            templates = copy.deepcopy(account().templates)
            properties = templates[each.stack]["Resources"][each.logical_id]["Properties"]
            properties.pop("ResourceTags" if "ResourceTags" in properties else "Tags")
            assert untagged(Account(templates)) == [f"{each.stack}/{each.logical_id}"]


def test_what_belongs_to_all_environments_says_so():
    found = {value for each in account().resources if each.stack in ACCOUNT and taggable(each.type) for value in tags(each).items()}
    assert found == {("verger:project", "verger"), ("verger:environment", "all"), ("verger:cost-centre", "verger")}


def test_several_cost_centres_are_one_tag(full):
    from infra.tags import LONGEST, tags_of

    other = replace(full, name="other", cost_centre="x" * LONGEST)
    shared = tags_of(other, full)["verger:cost-centre"]
    assert shared.startswith("CC 42 + xxx")
    assert len(shared) == LONGEST
    assert tags_of(full)["verger:cost-centre"] == full.cost_centre


def test_tags_have_the_environments_values(everything):
    bucket = everything.account.one("Verger-full-Storage", "AWS::S3::Bucket")
    assert tags(bucket) == dict(zip(KEYS, ("CC 42", "full", "verger"), strict=True))


def test_stacks_of_an_environment_are_protected_where_it_says_so(assembly, environment):
    found = {name: protected for name, protected in assembly.protected.items() if f"-{environment.name}-" in name}
    assert set(found.values()) == {environment.termination_protection}
    assert len(found) == 3


def test_prod_is_protected_and_dev_is_disposable():
    """Of those that are deployed: whoever takes the protection off prod is to mean it."""
    dev, prod = load_environments()["dev"], load_environments()["prod"]
    assert (dev.disposable, dev.termination_protection) == (True, False)
    assert (prod.disposable, prod.termination_protection) == (False, True)


def test_no_template_names_a_partition_a_region_or_an_account(assembly):
    """Service principals end in amazonaws.com in every partition; GitHub's audience is a name that AWS chose."""
    text = json.dumps(assembly.account.templates)
    assert not re.findall(r"arn:aws[\w-]*:", text)
    assert not re.findall(r"\b(?:us|eu|ap|sa|ca|me|af|cn|il)(?:-gov)?-(?:[a-z]+)-\d\b", text)
    assert not re.findall(r"\b\d{12}\b", text)
    service = r"(?:emr-serverless|ops\.emr-serverless|events|cloudwatch|lambda|sts)\.amazonaws\.com"
    assert not re.findall(r"[\w.-]*amazonaws\.com", re.sub(rf'(?<=["/]){service}(?=["/])', "", text))


def test_nothing_has_a_physical_name_but_what_others_find_by_it(assembly):
    """A name would keep CloudFormation from replacing the resource. Application: metrics; parameter: tools; boundary: roles."""
    named = {
        each.type
        for each in assembly.account.resources
        for key in ("Name", "BucketName", "RoleName", "TopicName", "LogGroupName", "AlarmName", "DashboardName", "ManagedPolicyName")
        if key in each.properties
    }
    assert named == {"AWS::EMRServerless::Application", "AWS::SSM::Parameter", "AWS::IAM::ManagedPolicy"}


def test_no_lambda_copies_files_and_none_is_there_at_all_unless_data_is_deleted(assembly):
    assert not [each for each in assembly.account.resources if each.type.startswith(("AWS::Lambda", "Custom::"))]


def test_values_pass_between_stacks_without_exports(assembly):
    """An export cannot change while another stack imports it, which makes some deployments impossible."""
    text = json.dumps(assembly.account.templates)
    assert '"Export"' not in text
    assert "Fn::ImportValue" not in text


def test_an_environment_can_be_deployed_with_none_of_the_others(node, tmp_path):  # noqa: ARG001  asked for its skip
    from tests.infra.assembly import synthesise

    made = synthesise(tmp_path, environment="prod")
    assert set(made.account.templates) == {"Verger-prod-Storage", "Verger-prod-Job", "Verger-prod-Watch"}
    assert {each.stack for each in made.account.resources} == set(made.account.templates), "and every reference resolves within them"


def test_a_release_out_of_support_is_a_warning(variant, capfd):
    old = replace(DEFAULT_RELEASE, supported_until=DEFAULT_RELEASE.supported_until.replace(year=2020))
    metadata = json.loads((variant(release=old).folder / "Verger-one-Job.metadata.json").read_text())
    said = [entry["data"] for entries in metadata.values() for entry in entries if entry["type"] == "aws:cdk:warning"]
    assert said
    assert "emr-spark-8.1.0 has been out of support since 2020-" in said[0]
    capfd.readouterr()


RENEW = "after a change on purpose, of infra/environments.toml as well: python -m tests.infra.renew, and read its diff"


def test_there_is_a_snapshot_of_each_environment_and_of_what_ci_has():
    assert {file.stem for file in SNAPSHOTS.glob("*.json")} == {*load_environments(), "boundary", "delivery"}, RENEW


@pytest.mark.parametrize("name", sorted(file.stem for file in SNAPSHOTS.glob("*.json")))
def test_templates_are_the_ones_that_were_read(shipped, name):
    assert snapshots(shipped).get(name) == json.loads((SNAPSHOTS / f"{name}.json").read_text()), RENEW


def test_a_change_of_code_changes_no_snapshot(shipped):
    assert not re.search(r"\b[0-9a-f]{64}\b", json.dumps(snapshots(shipped)))
