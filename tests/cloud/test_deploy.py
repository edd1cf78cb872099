"""The stacks, deployed, deployed again and destroyed by the stock CDK CLI."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.workspace import REPOSITORY
from job.contract import MODEL_CARD
from tests.cloud.account import Account

STACKS, PROD = ({f"Verger-{name}-{part}" for part in ("Storage", "Job", "Watch")} for name in ("dev", "prod"))
CI = {"Verger-Boundary", "Verger-Delivery"}


def test_dev_is_deployed_and_deployed_again_and_destroyed_with_its_data(account: Account) -> None:
    account.deploy("dev", "-c", "delete_data=dev")
    outputs, deployment = account.outputs(), account.deployment()
    assert account.stacks() >= STACKS
    assert deployment.application_id in outputs["StartJobRun"]
    assert "Fn::" not in str(outputs)
    assert account.deploy("dev", "-c", "delete_data=dev").count("(no changes)") == len(STACKS)

    with (account.workspace / "job" / "contract.py").open("a") as code:
        code.write("# one byte more\n")
    account.deploy("dev", "-c", "delete_data=dev")
    after = account.outputs()
    assert {name for name in after if after[name] != outputs[name]} == {"JobPackageUri", "StartJobRun"}

    account.put("images/a/1.jpg", b"one")
    account.put("images/a/1.jpg", b"another version")
    account.destroy("dev", "-c", "delete_data=dev")
    assert not account.stacks() & STACKS
    assert deployment.bucket not in account.buckets()
    emr = account.aws.client("emr-serverless")
    assert [each["state"] for each in emr.list_applications()["applications"]] == ["TERMINATED"]
    left = account.aws.client("iam").list_roles()["Roles"]
    assert not [role["RoleName"] for role in left if role["RoleName"].startswith("Verger-")]


def test_the_bucket_of_dev_stays_where_nobody_says_delete_data(account: Account) -> None:
    account.deploy("dev")
    bucket = account.deployment().bucket
    account.put("images/a/1.jpg", b"one")
    account.destroy("dev")
    assert bucket in account.buckets()
    assert account.aws.client("s3").get_object(Bucket=bucket, Key="images/a/1.jpg")["Body"].read() == b"one"


def test_prod_refuses_to_go_and_then_leaves_its_data_and_its_key(account: Account) -> None:
    account.deploy("prod")
    bucket = replace(account, environment="prod").deployment().bucket
    account.aws.client("s3").put_object(Bucket=bucket, Key="images/1.jpg", Body=b"one")
    with pytest.raises(BootstrapError, match="TerminationProtection"):
        account.destroy("prod")
    cloudformation = account.aws.client("cloudformation")
    for stack in sorted(account.stacks() - {"CDKToolkit"}):
        cloudformation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
    account.destroy("prod")
    assert account.stacks() == {"CDKToolkit"}
    assert bucket in account.buckets()
    encryption = account.aws.client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    key = encryption["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    assert account.aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_an_application_keeps_all_that_its_template_says(deployed: Account) -> None:
    """moto's own has neither Spark's defaults nor monitoring."""
    application = deployed.aws.client("emr-serverless").get_application(applicationId=deployed.deployment().application_id)["application"]
    assert application["runtimeConfiguration"][0]["properties"]["spark.dynamicAllocation.maxExecutors"] == "3"
    assert application["monitoringConfiguration"]["s3MonitoringConfiguration"]["logUri"].endswith("/logs/")
    assert application["monitoringConfiguration"]["cloudWatchLoggingConfiguration"]["logTypes"]["SPARK_DRIVER"] == ["STDOUT", "STDERR"]
    assert application["maximumCapacity"]["cpu"] == "16 vCPU"
    assert application["releaseLabel"] == "emr-spark-8.1.0"
    assert application["state"] == "CREATED"


def test_a_stack_that_fails_is_rolled_back_and_says_why(account: Account) -> None:
    """A name of a property that the service does not know."""
    stacks = account.workspace / "infra" / "stacks.py"
    wrong = 'self.runtime.application.add_property_override("Surprise", 1)'
    stacks.write_text(stacks.read_text().replace("        self.job_role = JobRole(", f"        {wrong}\n        self.job_role = JobRole("))
    with pytest.raises(BootstrapError, match="Verger-dev-Job"):
        account.deploy("dev")
    events = account.aws.client("cloudformation").describe_stack_events(StackName="Verger-dev-Job")["StackEvents"]
    assert any("surprise" in event.get("ResourceStatusReason", "") for event in events)
    assert events[0]["ResourceStatus"] == "ROLLBACK_COMPLETE"


def test_what_ci_delivers_with_stays_until_an_administrator_takes_it_away(account: Account) -> None:
    """With all environments: the boundary, the identity provider, CloudFormation's policies and the roles."""
    settings = account.workspace / "cdk.json"
    settings.write_text(settings.read_text().replace('"repository": ""', '"repository": "example/verger"'))
    account.deploy("all")
    assert account.stacks() == {"CDKToolkit", *CI, *STACKS, *PROD}
    iam = account.aws.client("iam")
    assert len(iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]) == 1

    make_destroy(account, "dev")
    assert account.stacks() == {"CDKToolkit", *CI, *PROD}
    for stack in PROD:
        account.aws.client("cloudformation").update_termination_protection(StackName=stack, EnableTerminationProtection=False)
    make_destroy(account, "all")
    assert account.stacks() == {"CDKToolkit", *CI}

    page = (REPOSITORY / "docs" / "ci.md").read_text().partition("## Taking it away\n")[2].partition("\n## ")[0]
    commands = "\n".join(line for line in page.splitlines() if line.startswith("    "))
    account.aws.run(["bash", "-euc", commands], cwd=account.workspace)
    assert account.stacks() == {"CDKToolkit"}
    assert not iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert not [policy for policy in iam.list_policies(Scope="Local")["Policies"] if policy["PolicyName"].startswith("Verger-")]


def make_destroy(account: Account, environment: str) -> None:
    """As a person types it, who is not asked here whether they are sure."""
    for name in ("Makefile", ".venv", "node_modules"):
        if not (account.workspace / name).exists():
            (account.workspace / name).symlink_to(REPOSITORY / name)
    target = ["make", "-o", "node_modules/.ready", "-o", ".venv/.ready", "destroy"]
    account.aws.run([*target, f"ENV={environment}"], cwd=account.workspace, more={"CDK_FORCE": "true"})


def test_a_network_that_was_never_trained_does_not_reach_prod(account: Account) -> None:
    model = account.workspace / "build" / "model"
    shared = model.resolve()
    model.unlink()
    shutil.copytree(shared, model)
    card = model / MODEL_CARD
    card.write_text(card.read_text().replace('"weights": "none"', '"weights": "random:1"'))
    with pytest.raises(BootstrapError, match="has weights random:1, and prod is not disposable"):
        account.deploy("prod")
    assert account.stacks() == {"CDKToolkit"}
    account.deploy("dev")
    assert account.stacks() >= STACKS


def test_what_differs_from_what_is_deployed_is_what_a_deployment_would_change(account: Account) -> None:
    """As `make diff BASE=deployed` after `make assembly`."""
    assembly = account.workspace / "cdk.out"
    command, more = [str(REPOSITORY / ".ci" / "diff"), "deployed"], {"ENV": "dev", "ASSEMBLY": str(assembly)}
    account.deploy("dev")
    assert account.aws.run(command, cwd=account.workspace, more=more) == "no differences\n"
    toml = account.workspace / "infra" / "environments.toml"
    toml.write_text(re.sub(r"(?m)^retention_days = .*", "retention_days = 545", toml.read_text()))
    account.aws.run(["cdk", "synth", "--quiet", "-c", "environment=dev"], cwd=account.workspace)
    said = account.aws.run(command, cwd=account.workspace, more=more)
    assert "Stack Verger-dev-Job" in said
    assert "RetentionInDays" in said
    assert "AWS::EMRServerless::Application" not in said


def test_collecting_garbage_takes_what_no_deployed_template_names(account: Account) -> None:
    """As `make gc`, without its days of waiting."""
    account.deploy("dev")
    s3, bucket = account.aws.client("s3"), account.deployment().entry_point.split("/")[2]
    old = f"artifacts/dev/{'0' * 64}.zip"
    s3.put_object(Bucket=bucket, Key=old, Body=b"of an earlier deployment")
    days = ("--rollback-buffer-days", "0", "--created-buffer-days", "0")
    account.aws.run(
        ["cdk", "gc", "--unstable=gc", "--type", "s3", "--confirm=false", *days, "-c", "placeholders=true"], cwd=account.workspace
    )
    left = {each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    deployment = account.deployment()
    named = (deployment.entry_point, deployment.job_package, deployment.model, deployment.environment_archive)
    assert {uri.removeprefix(f"s3://{bucket}/") for uri in named} <= left
    assert old not in left
