"""How a run is submitted to EMR Serverless: one source for the stacks' outputs and the operator's tools. Standard library only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from job.contract import ENVIRONMENT_PYTHON, IMAGES, RESULTS, Card

ENVIRONMENT_ALIAS = "environment"  # the folder of driver and executors that the archive of packages is unpacked to
QUOTED = ("name", "tags", "retry-policy", "job-driver", "execution-iam-policy")  # flags of the AWS CLI whose values need it
PYTHON = f"./{ENVIRONMENT_ALIAS}/{ENVIRONMENT_PYTHON}"

PROJECT_TAG, ENVIRONMENT_TAG, RUN_TAG, PROJECT = "verger:project", "verger:environment", "verger:run", "verger"

# The second is for a driver that is lost, which is rare. A run that fails for a reason of its own does so again, and is paid for again:
# more attempts would multiply that
ATTEMPTS, MOST_ATTEMPTS = 2, 10  # "Job resiliency", EMR Serverless User Guide: 1 to 10


def parameter_name(environment: str) -> str:
    """The SSM parameter that holds an environment's deployment."""
    return f"/verger/{environment}/deployment"


@dataclass(frozen=True, slots=True)
class Deployment(Card):
    """What a run needs to know of a deployed environment: the JSON in its SSM parameter.

    application_id, job_role_arn, region, bucket   as AWS names them
    entry_point          s3:// URI of the script that starts the job
    job_package          s3:// URI of the zip with the package `job`
    model                s3:// URI of the zip with the flatbuffer and its card
    environment_archive  s3:// URI of the archive with the interpreter's packages
    timeout_minutes      after which a run is cancelled
    spark                further Spark properties: sizes, limits
    """

    environment: str
    region: str
    application_id: str
    job_role_arn: str
    bucket: str
    entry_point: str
    job_package: str
    model: str
    environment_archive: str
    timeout_minutes: int
    spark: Mapping[str, str]

    def to_json(self) -> str:
        """On one line: a parameter has 4,096 characters (Systems Manager User Guide, standard tier)."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def properties(self) -> dict[str, str]:
        """Spark properties of a run. They pin code and packages, as --model does the network: a deployment meanwhile changes nothing."""
        return {
            "spark.submit.pyFiles": self.job_package,
            # Not the model: executors would fetch it here, and once more from the driver (job.tasks.ship_files)
            "spark.archives": f"{self.environment_archive}#{ENVIRONMENT_ALIAS}",
            "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": PYTHON,
            "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": PYTHON,
            "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
            # boto3 asks us-east-1 first where nobody names the region, and without a VPC a run reaches its own only
            "spark.emr-serverless.driverEnv.AWS_REGION": self.region,
            "spark.executorEnv.AWS_REGION": self.region,
            **self.spark,
        }


def run_arguments(deployment: Deployment, *, results: str, further: Sequence[str] = ()) -> list[str]:
    """The job's command line, with results under `results`, a name: for all images of the bucket, unless `further` names others."""
    bucket = f"s3://{deployment.bucket}"
    images = [] if values_of(further, "--images") else ["--images", f"{bucket}/{IMAGES}/"]
    return ["run", *images, "--results", f"{bucket}/{RESULTS}/{results}/", "--model", deployment.model, *further]


def values_of(arguments: Sequence[str], flag: str) -> list[str]:
    """What a flag of the job's command line is given, in order: as its next word, or after an equals sign."""
    following = zip_longest(arguments, arguments[1:])
    found = [after if word == flag else word.removeprefix(f"{flag}=") for word, after in following if word.partition("=")[0] == flag]
    return [value for value in found if value is not None]


def start_job_run(deployment: Deployment, arguments: Sequence[str], *, name: str, attempts: int = ATTEMPTS) -> dict[str, Any]:
    """The StartJobRun request, as boto3 and the AWS CLI take it.

    attempts  tries of the run, 1 to MOST_ATTEMPTS; each begins anew, and goes on from the rows that are there (docs/decisions/0010)

    Settings are --conf flags, which override one by one: a run's spark-defaults classification replaces the application's
    whole one before emr-spark-8.1.0.
    """
    submit = {
        "entryPoint": deployment.entry_point,
        "entryPointArguments": list(arguments),
        "sparkSubmitParameters": " ".join(f"--conf {key}={value}" for key, value in deployment.properties.items()),
    }
    return {
        "applicationId": deployment.application_id,
        "executionRoleArn": deployment.job_role_arn,
        "name": name,
        # The application's do not reach its runs ("Tagging your resources", EMR Serverless User Guide)
        "tags": {PROJECT_TAG: PROJECT, ENVIRONMENT_TAG: deployment.environment, RUN_TAG: name},
        "retryPolicy": {"maxAttempts": attempts},
        "executionTimeoutMinutes": deployment.timeout_minutes,
        "jobDriver": {"sparkSubmit": submit},
    }


def command(request: Mapping[str, Any], *, region: str) -> str:
    """The request as a command for a shell."""
    flags = {
        "region": region,
        "application-id": request["applicationId"],
        "execution-role-arn": request["executionRoleArn"],
        "name": request["name"],
        "tags": json.dumps(request["tags"]),
        "retry-policy": json.dumps(request["retryPolicy"]),
        "execution-timeout-minutes": str(request["executionTimeoutMinutes"]),
        "job-driver": json.dumps(request["jobDriver"]),
    }
    if policy := request.get("executionIamPolicy"):
        flags["execution-iam-policy"] = json.dumps(policy)
    if token := request.get("clientToken"):
        flags["client-token"] = token
    # Quoted by hand where shlex would quote a CloudFormation reference that becomes a plain word
    return "aws emr-serverless start-job-run " + " ".join(
        f"--{flag} {shlex.quote(value) if flag in QUOTED else value}" for flag, value in flags.items()
    )
