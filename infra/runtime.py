"""The EMR Serverless application, and the Spark properties that its runs share."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_emrserverless as emr
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from infra.environments import Environment
from infra.storage import Storage
from job import contract
from job.submission import ENVIRONMENT_ALIAS, PYTHON

QUEUE_TIMEOUT = Duration.hours(12)
RETENTION = {  # CDK's names for the days that environments choose from
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
}


class Application(Construct):
    """The application: it costs nothing until a run starts it, and at most max_vcpus while it runs."""

    def __init__(self, scope: Construct, id_: str, *, environment: Environment, storage: Storage, packages: assets.Asset) -> None:
        super().__init__(scope, id_)
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=RETENTION[environment.retention_days],
            removal_policy=RemovalPolicy.DESTROY if environment.disposable else RemovalPolicy.RETAIN,
        )
        self.application = emr.CfnApplication(
            self,
            "Application",
            type="SPARK",
            # CloudWatch knows the application's metrics by this name. Another name would be another application.
            name=f"verger-{environment.name}",
            release_label=environment.release.label,
            architecture=environment.architecture.upper(),
            maximum_capacity=_capacity(environment),
            auto_start_configuration=emr.CfnApplication.AutoStartConfigurationProperty(enabled=True),
            auto_stop_configuration=emr.CfnApplication.AutoStopConfigurationProperty(
                enabled=True, idle_timeout_minutes=environment.idle_minutes
            ),
            scheduler_configuration=emr.CfnApplication.SchedulerConfigurationProperty(
                max_concurrent_runs=environment.concurrent_runs, queue_timeout_minutes=int(QUEUE_TIMEOUT.to_minutes())
            ),
            network_configuration=_network(environment),
            monitoring_configuration=self._monitoring(storage),
            runtime_configuration=[
                emr.CfnApplication.ConfigurationObjectProperty(classification="spark-defaults", properties=defaults(environment, packages))
            ],
        )

    def _monitoring(self, storage: Storage) -> emr.CfnApplication.MonitoringConfigurationProperty:
        """Logs where they can be followed (CloudWatch), where they stay (S3), and where the Spark UI reads them (managed)."""
        of = emr.CfnApplication
        streams = {"SPARK_DRIVER": ["STDOUT", "STDERR"], "SPARK_EXECUTOR": ["STDERR"]}
        return of.MonitoringConfigurationProperty(
            s3_monitoring_configuration=of.S3MonitoringConfigurationProperty(
                # Without a key of its own here: the bucket's encrypts by default, and who starts a run needs none
                log_uri=f"s3://{storage.bucket.bucket_name}/{contract.LOGS}/",
            ),
            cloud_watch_logging_configuration=of.CloudWatchLoggingConfigurationProperty(
                enabled=True,
                log_group_name=self.log_group.log_group_name,
                log_type_map=[of.LogTypeMapKeyValuePairProperty(key=key, value=value) for key, value in streams.items()],
            ),
            managed_persistence_monitoring_configuration=of.ManagedPersistenceMonitoringConfigurationProperty(enabled=True),
        )


def defaults(environment: Environment, packages: assets.Asset) -> dict[str, str]:
    """Spark properties that hold for every run of the application unless it says otherwise: sizes, limits, interpreter.

    Code and model are not among them: they change often, and a change here needs an application that is stopped.
    """
    interpreter = {
        "spark.archives": f"{packages.s3_object_url}#{ENVIRONMENT_ALIAS}",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": PYTHON,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": PYTHON,
        "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
    }
    return {**spark_properties(environment), **interpreter}


def spark_properties(environment: Environment) -> dict[str, str]:
    """Sizes and limits of a run, as Spark properties."""
    sizes: dict[str, str] = {}
    for name, worker in (("driver", environment.driver), ("executor", environment.executor)):
        sizes |= {
            f"spark.{name}.cores": str(worker.vcpus),
            f"spark.{name}.memory": f"{worker.heap_gb}g",
            f"spark.{name}.memoryOverhead": f"{worker.memory_gb - worker.heap_gb}g",
            f"spark.emr-serverless.{name}.disk": f"{worker.disk_gb}G",
        }
    executors = str(environment.max_executors)
    return {
        **sizes,
        # All executors from the start: the number of images is what it is, and idle ones leave after a minute
        "spark.dynamicAllocation.initialExecutors": executors,
        "spark.dynamicAllocation.maxExecutors": executors,
        # What the job plans its tasks for; while executors are still coming, Spark would count those that are there
        "spark.default.parallelism": str(environment.max_executors * environment.executor.vcpus),
    }


def _capacity(environment: Environment) -> emr.CfnApplication.MaximumAllowedResourcesProperty:
    return emr.CfnApplication.MaximumAllowedResourcesProperty(
        cpu=f"{environment.max_vcpus} vCPU", memory=f"{environment.max_memory_gb} GB", disk=f"{environment.max_disk_gb} GB"
    )


def _network(environment: Environment) -> emr.CfnApplication.NetworkConfigurationProperty | None:
    """None by default: a run reaches S3 in its region without a VPC, and needs nothing else."""
    if not environment.subnets:
        return None
    return emr.CfnApplication.NetworkConfigurationProperty(
        subnet_ids=list(environment.subnets), security_group_ids=list(environment.security_groups)
    )
