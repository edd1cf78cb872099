"""The whole account: storage → job → watch, for each environment, and how CI delivers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Aws, CfnOutput, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Stack
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.artifacts import Artifacts, Built
from infra.boundary import Boundary
from infra.delivery import Delivery, Target
from infra.environments import Environment
from infra.runtime import Application, spark_properties
from infra.security import JobRole
from infra.storage import Storage
from infra.tags import tag, tag_cleaner, tags_of
from infra.watch import Watch
from job import contract
from job.submission import Deployment, command, parameter_name, run_arguments, start_job_run

FIRST_RUN = "first-run"  # the name under results/ in the command that the stack prints


class EnvironmentStack(Stack):
    """A stack of one environment, with its tags and its protection."""

    def __init__(self, scope: Construct, part: str, *, environment: Environment, **options: Any) -> None:
        protected = environment.termination_protection
        super().__init__(scope, f"Verger-{environment.name}-{part}", termination_protection=protected, **options)
        tag(self, tags_of(environment))

    def output(self, name: str, value: str, description: str) -> None:
        CfnOutput(self, name, value=value, description=description)


class StorageStack(EnvironmentStack):
    def __init__(self, scope: Construct, *, environment: Environment, delete_data: bool) -> None:
        super().__init__(scope, "Storage", environment=environment, description="Verger: images, results, artifacts and logs")
        self.storage = Storage(self, "Storage", environment=environment, delete_data=delete_data)
        if self.storage.emptied:
            tag_cleaner(self, tags_of(environment))


class JobStack(EnvironmentStack):
    def __init__(self, scope: Construct, *, environment: Environment, storage: Storage, built: Built) -> None:
        prefix = f"{contract.ARTIFACTS}/{environment.name}/"
        super().__init__(
            scope,
            "Job",
            environment=environment,
            description="Verger: the application, its role, and what runs on it",
            synthesizer=DefaultStackSynthesizer(bucket_prefix=prefix),
        )
        self.artifacts = Artifacts(self, "Artifacts", built=built)
        self.runtime = Application(self, "Runtime", environment=environment, storage=storage, packages=self.artifacts.environment)
        self.job_role = JobRole(
            self,
            "JobRole",
            environment=environment,
            application=self.runtime.application,
            storage=storage,
            published=self.artifacts.job_package.bucket,
            log_group=self.runtime.log_group,
        )
        self.deployment = Deployment(
            environment=environment.name,
            region=Aws.REGION,
            application_id=self.runtime.application.attr_application_id,
            job_role_arn=self.job_role.role.role_arn,
            bucket=storage.bucket.bucket_name,
            entry_point=self.artifacts.entry_point.s3_object_url,
            job_package=self.artifacts.job_package.s3_object_url,
            model=self.artifacts.model.s3_object_url,
            environment_archive=self.artifacts.environment.s3_object_url,
            timeout_minutes=environment.timeout_minutes,
            spark=spark_properties(environment),
        )
        self.parameter = ssm.StringParameter(
            self,
            "Deployment",
            parameter_name=parameter_name(environment.name),
            description="What a run of Verger needs to know, as JSON",
            string_value=self.deployment.to_json(),
        )
        self.target = Target(environment, self.runtime.application, self.job_role.role, storage, self.parameter)
        self._print(self.deployment)

    def _print(self, deployment: Deployment) -> None:
        request = start_job_run(deployment, run_arguments(deployment, results=FIRST_RUN), name=FIRST_RUN)
        for name, value, description in (
            ("ApplicationId", deployment.application_id, "The EMR Serverless application"),
            ("JobRoleArn", deployment.job_role_arn, "The role of its runs"),
            ("BucketName", deployment.bucket, "Images go to images/, results come to results/"),
            ("EntryPointUri", deployment.entry_point, "What a run starts with"),
            ("JobPackageUri", deployment.job_package, "The code of a run"),
            ("ModelUri", deployment.model, "The network of a run"),
            ("EnvironmentUri", deployment.environment_archive, "The packages of a run"),
            ("ParameterName", self.parameter.parameter_name, "All of it as JSON, for tools"),
            ("Region", deployment.region, "Where it is"),
            ("StartJobRun", command(request, region=deployment.region), f"Runs the job on images/; change {FIRST_RUN} for the next"),
        ):
            self.output(name, value, description)


class WatchStack(EnvironmentStack):
    def __init__(self, scope: Construct, *, environment: Environment, storage: Storage, runtime: Application) -> None:
        super().__init__(scope, "Watch", environment=environment, description="Verger: who hears of failed runs, and a dashboard")
        self.watch = Watch(self, "Watch", environment=environment, bucket=storage.bucket, application=runtime.application)
        self.output("TopicArn", self.watch.topic.topic_arn, "Subscribe to hear of runs that failed")


class AccountStack(Stack):
    """A stack for the account.

    It is deployed with the credentials of whoever deploys it, an administrator's, and not through the roles of
    `cdk bootstrap`: what CI may do is not for CI to change.
    """

    def __init__(self, scope: Construct, part: str, *, description: str, environments: Sequence[Environment]) -> None:
        super().__init__(
            scope, f"Verger-{part}", description=description, synthesizer=CliCredentialsStackSynthesizer(), termination_protection=True
        )
        tag(self, tags_of(*environments))


class BoundaryStack(AccountStack):
    """It is for all environments that there are: one of them is no reason to take another's images away."""

    def __init__(self, scope: Construct, *, environments: Sequence[Environment]) -> None:
        super().__init__(scope, "Boundary", description="Verger: the most that a role of an environment may do", environments=environments)
        images = dict.fromkeys(each.images_bucket_arn for each in environments if each.images_bucket_arn)
        self.boundary = Boundary(self, "Boundary", images=list(images))


class DeliveryStack(AccountStack):
    """It is for all environments that there are: without one of them it would take that one's run role away."""

    def __init__(self, scope: Construct, *, repository: str, provider_arn: str, targets: Sequence[Target]) -> None:
        environments = [target.environment for target in targets]
        super().__init__(scope, "Delivery", description="Verger: how CI deploys and runs it", environments=environments)
        self.delivery = Delivery(self, "Delivery", repository=repository, provider_arn=provider_arn, targets=targets)
        CfnOutput(self, "DiffRoleArn", value=self.delivery.diff_role.role_arn, description="For the deploy workflow, before its approval")
        CfnOutput(self, "DeployRoleArn", value=self.delivery.deploy_role.role_arn, description="For the deploy workflow")
        CfnOutput(self, "GcRoleArn", value=self.delivery.gc_role.role_arn, description="For the gc workflow")
        for name, role in self.delivery.run_roles.items():
            CfnOutput(self, f"RunRoleArn{name.capitalize()}", value=role.role_arn, description=f"For the run workflow, in {name}")
        policies = ",".join(policy.managed_policy_arn for policy in self.delivery.execution_policies)
        CfnOutput(
            self,
            "Bootstrap",
            value=f"cdk bootstrap -c placeholders=true --cloudformation-execution-policies {policies}",
            description="Takes AdministratorAccess from CloudFormation in this account and region",
        )
