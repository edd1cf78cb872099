"""The checks before a run, each a question to AWS and its finding. BootstrapError where there is no answer, Denied where it is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from bootstrap.artifacts import REPAIR, Packages, read_code, read_model, read_packages
from bootstrap.aws import Unreadable, client, foreseen
from bootstrap.findings import Finding
from bootstrap.locations import Location
from job.releases import release_of
from job.sources.keys import hidden_in
from job.sources.readers import marks_folder
from job.submission import Deployment

# "Max concurrent vCPUs per account", Service Quotas; a run that asks for more dies of ServiceQuotaExceededException on its way
QUOTA = {"ServiceCode": "emr-serverless", "QuotaCode": "L-D05C8A75"}
READY = {"CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED"}
SPOOLED = 16 << 20  # bytes in memory, before a file


def check_region(region: str | None) -> Finding:
    try:
        with foreseen("looking for a region"):
            return Finding("ok", client("ssm", region=region).meta.region_name)
    except Unreadable:  # what is wrong with it is the next check's to say
        return Finding("warn", "not looked at, as credentials cannot be read", "see credentials")


def check_credentials(region: str | None) -> Finding:
    with foreseen("asking who you are"):
        return Finding("ok", client("sts", region=region).get_caller_identity()["Arn"])


def application_of(deployment: Deployment) -> Mapping[str, Any]:
    """GetApplication's answer."""
    with foreseen(f"asking for application {deployment.application_id}"):
        emr = client("emr-serverless", region=deployment.region)
        found: Mapping[str, Any] = emr.get_application(applicationId=deployment.application_id)["application"]
    return found


def check_application(application: Mapping[str, Any]) -> Finding:
    state, details = application["state"], " ".join(application.get("stateDetails", "").split())
    found = f"{application['applicationId']} is {state}{f': {details}' if details else ''}"
    if state == "CREATING":
        return Finding("warn", found, "wait a minute")
    if state not in READY:
        return Finding("fail", found, "deploy the environment again")
    starts = application.get("autoStartConfiguration", {}).get("enabled", True)
    if state != "STARTED" and not starts:
        return Finding("fail", f"{found} and does not start by itself", "aws emr-serverless start-application")
    return Finding("ok", f"{found}, {application['releaseLabel']} on {_architecture(application)}")


def check_quota(application: Mapping[str, Any], deployment: Deployment) -> Finding:
    """A run at its largest, and the application's capacity, against the account's quota of vCPUs."""
    with foreseen("asking for the quota of vCPUs"):
        quota = float(client("service-quotas", region=deployment.region).get_service_quota(**QUOTA)["Quota"]["Value"])
    run, most = run_vcpus(deployment.spark), application.get("maximumCapacity", {}).get("cpu", "")
    found = f"{quota:g} vCPUs in this region; a run takes up to {run}, the application {most or 'any number'}"
    raise_it = f"lower max_executors in infra/environments.toml, or have {QUOTA['QuotaCode']} raised in Service Quotas"
    if run > quota:
        return Finding("fail", found, raise_it)
    if not most or float(most.split()[0]) > quota:
        return Finding("warn", found, "runs at the same time may fail: keep max_vcpus within the quota")
    return Finding("ok", found)


def run_vcpus(spark: Mapping[str, str]) -> int:
    """vCPUs of a run with all its executors; sizes that are not set are EMR Serverless' own ("Spark job parameters", User Guide)."""
    driver, executor = (int(spark.get(f"spark.{name}.cores", "4")) for name in ("driver", "executor"))
    return driver + executor * int(spark.get("spark.dynamicAllocation.maxExecutors", "3"))


def check_images(images: Location, *, region: str) -> Finding:
    """Whether a run finds something to read in a folder, by its own rules."""
    place = f"s3://{images.bucket}/{images.prefix}"
    with foreseen(f"listing {place}"):
        page = client("s3", region=region).list_objects_v2(Bucket=images.bucket, Prefix=images.prefix)
    found = [(each["Key"], each["Size"]) for each in page.get("Contents", ())]
    seen = [key for key, size in found if not marks_folder(key, size) and not hidden_in(key.removeprefix(images.prefix))]
    if seen:
        return Finding("ok", f"{len(seen):,}{' and more' if page['IsTruncated'] else ''} under {place}")
    if page["IsTruncated"]:
        return Finding(
            "warn", f"the first {len(found):,} under {place} are hidden", f"python -m bootstrap estimate --images {place} lists all of it"
        )
    return Finding("fail", f"nothing under {place}{' that is not hidden' if found else ''}", f"python -m bootstrap stage FOLDER {place}")


def check_code(deployment: Deployment) -> Finding:
    """The package is whole, and the script that starts it is its own."""
    with _fetched(deployment, deployment.job_package) as package, _fetched(deployment, deployment.entry_point) as script:
        if read_code(package) != script.read():
            return Finding("fail", f"{deployment.entry_point} is not the script of {deployment.job_package}", REPAIR)
        return Finding("ok", f"{_size(package)}, whole, with its script")


def check_model(deployment: Deployment) -> Finding:
    with _fetched(deployment, deployment.model) as file:
        card = read_model(file)
        found = f"{card.backbone} {card.digest}, {card.feature_length} features, {_size(file)}, whole"
    return Finding("warn", f"{found}: RANDOM WEIGHTS", "make model WEIGHTS=FILE.h5, and deploy") if card.is_random else Finding("ok", found)


def packages_of(deployment: Deployment) -> tuple[Packages, str]:
    """What the archive of packages is, once it has been read to its end, and its size in words."""
    with _fetched(deployment, deployment.environment_archive) as file:
        return read_packages(file), _size(file)


def check_packages(read: tuple[Packages, str]) -> Finding:
    packages, size = read
    return Finding("ok", f"{packages.files:,} files, {size}, whole")


def check_interpreter(read: tuple[Packages, str], application: Mapping[str, Any]) -> Finding:
    """The Python that the archive links to, and the code in it, against the application's release and architecture."""
    packages, label, architecture = read[0], application["releaseLabel"], _architecture(application)
    rebuild = "make environment, and deploy again; the application's release and architecture are those of infra/environments.toml"
    try:
        release = release_of(label)
    except ValueError as error:
        return Finding("warn", f"not known for this release: {error}", "deploy the environment again")
    if packages.interpreter not in [f"/usr/bin/python{version}" for version in release.pythons]:
        return Finding("fail", f"{packages.interpreter or 'no interpreter'}: {label} has Python {', '.join(release.pythons)}", rebuild)
    version = packages.interpreter.removeprefix("/usr/bin/python")
    if foreign := sorted(packages.compiled - {(version, architecture)}):
        said = ", ".join(f"Python {python} on {machine}" for python, machine in foreign)
        return Finding("fail", f"{packages.interpreter} on {architecture}, and code for {said}", rebuild)
    return Finding("ok", f"{packages.interpreter} of {label}, code for {architecture}")


def _architecture(application: Mapping[str, Any]) -> str:
    return str(application.get("architecture", "X86_64")).lower()


@contextmanager
def _fetched(deployment: Deployment, uri: str) -> Iterator[IO[bytes]]:
    """An object's content, at its beginning."""
    place = Location.parse(uri)
    with tempfile.SpooledTemporaryFile(SPOOLED) as file:
        with foreseen(f"reading {uri}"):
            client("s3", region=deployment.region).download_fileobj(place.bucket, place.key, file)
        file.seek(0)
        yield file


def _size(file: IO[bytes]) -> str:
    return f"{file.seek(0, 2):,} bytes"
