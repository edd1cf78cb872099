"""The driver's process: spark-submit of the Spark that is installed here, with executors in processes of their own.

`local-cluster` starts a master, workers and executors on this machine: archives reach executors, and results come back, over the same
paths as in a cluster. Spark fetches a run's files by their s3:// URIs, with the run's role. Sizes of workers are this machine's, not the
run's.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.rehearsal.drills import SERVICE
from bootstrap.rehearsal.emr.s3a import s3a_jars
from bootstrap.rehearsal.emr.settings import RunSettings
from bootstrap.rehearsal.emr.staging import interpreter
from bootstrap.rehearsal.local import HOSTS, REGION
from job.contract import JVM_OPTIONS

EXECUTORS, EXECUTOR_MB = 2, 1024

# What the run's sizes are replaced by, and what a machine with one network address needs
HERE = {
    "spark.master": f"local-cluster[{EXECUTORS},1,{EXECUTOR_MB}]",
    "spark.executor.cores": "1",
    "spark.executor.memory": f"{EXECUTOR_MB}m",
    "spark.driver.memory": "1g",
    "spark.dynamicAllocation.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.driver.extraJavaOptions": JVM_OPTIONS,
    "spark.executor.extraJavaOptions": JVM_OPTIONS,
}
# What an EMR release's configuration says of S3, and what a server of this machine needs. Credentials: S3A's own default, which asks
# the container's endpoint
S3A = {
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.s3a.path.style.access": "true",
    "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
    "spark.hadoop.fs.s3a.endpoint.region": REGION,
    "spark.hadoop.fs.s3a.user.agent.prefix": SERVICE,
}
NOT_HERE = ("spark.emr-serverless.", "spark.hadoop.fs.s3", "spark.executorEnv.AWS_")  # an endpoint of a run's own could be AWS'
INTERPRETERS = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
PASSED_ON = (
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "JAVA_HOME",
    "JDK_JAVA_OPTIONS",
)  # of this process' environment; credentials are not among them


def driver_command(submit: Mapping[str, Any], settings: RunSettings, *, endpoint: str, folder: Path) -> list[str]:
    """The command line of spark-submit: the run's own files and properties, and what differs here."""
    given = {name: value for name, value in settings.properties.items() if not name.startswith(NOT_HERE)}
    properties = given | HERE | S3A | {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.local.dir": str(folder / "scratch")}
    confs = [word for name, value in properties.items() for word in ("--conf", f"{name}={value}")]
    return [str(spark_home(folder) / "bin" / "spark-submit"), *confs, submit["entryPoint"], *submit.get("entryPointArguments", [])]


def driver_environment(settings: RunSettings, *, endpoint: str, token: str, folder: Path) -> dict[str, str]:
    """The variables of the driver: credentials come from a container's endpoint, as EMR Serverless' come from outside too."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    asked = {name: value for name, value in settings.driver_environment.items() if not name.startswith("AWS_")}  # nor may it name AWS
    pythons = {name: interpreter(asked[name], folder=folder) for name in INTERPRETERS if name in asked}
    java = shutil.which("java") or "java"
    return (
        kept
        | {
            "PATH": os.pathsep.join([str(Path(java).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            "SPARK_HOME": str(spark_home(folder)),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{endpoint.replace('localhost', '127.0.0.1')}{CREDENTIALS}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": ",".join(HOSTS),
        }
        | asked
        | pythons
    )


CREDENTIALS = "/verger-rehearsal/credentials"  # where the door gives them out


def spark_home(folder: Path) -> Path:
    """A home of Spark with S3A: links to the installed one's contents, as standalone workers write into their home, and to more jars."""
    home = folder / "spark"
    if not home.is_dir():
        found = importlib.util.find_spec("pyspark")
        assert found
        assert found.submodule_search_locations
        installed = Path(found.submodule_search_locations[0])
        (home / "jars").mkdir(parents=True)
        for each in installed.iterdir():
            if each.name != "jars":
                (home / each.name).symlink_to(each)
        for jar in [*(installed / "jars").iterdir(), *s3a_jars()]:
            (home / "jars" / jar.name).symlink_to(jar)
    return home
