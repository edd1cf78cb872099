"""What may differ between deployments, as values that check themselves; infra/environments.toml has them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from infra.errors import BadEnvironment
from infra.workers import Worker
from job.releases import DEFAULT_RELEASE, RELEASES, Architecture, Release, release_of

FILE = Path(__file__).with_name("environments.toml")

RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731)  # that CloudWatch Logs offers, all up to two years
DEFAULT_QUOTA_VCPUS = 16  # "Max concurrent vCPUs per account", L-D05C8A75, in a new account

NAME = r"[a-z][a-z0-9]{0,9}"  # part of stack names, of which CloudFormation puts as few as 25 letters into a role's name
BUCKET_ARN = r"arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
MOST_RUNS = 1000  # of an application at once (EMR Serverless API, SchedulerConfiguration)
MOST_SUBNETS, MOST_SECURITY_GROUPS = 16, 5  # of an application (EMR Serverless API, NetworkConfiguration)
SUBNET, SECURITY_GROUP = r"subnet-[0-9a-f]{8,17}", r"sg-[0-9a-f]{8,17}"


@dataclass(frozen=True, slots=True)
class Environment:
    """One deployment of Verger. BadEnvironment, with the field, its value and what is allowed, where it cannot be.

    disposable            data may go with the stack, once -c delete_data=NAME says so as well
    termination_protection stacks refuse to be deleted until that is switched off
    release               EMR release, from job.releases
    architecture          of the workers: "arm64" (a fifth cheaper) or "x86_64"
    driver, executor      sizes of workers
    max_executors         of one run
    max_vcpus             of all runs at once: the ceiling on cost an hour
    quota_vcpus           the account's quota for EMR Serverless in this region
    idle_minutes          after which the application stops
    timeout_minutes       after which a run is cancelled
    retention_days        of logs, and of old versions of objects
    artifacts_days        after which a model that somebody put under artifacts/ expires, 0 for never
    customer_managed_key  a KMS key of our own instead of S3's
    alert_email           whom a failed run is reported to, "" for nobody
    monthly_budget_usd    above which alert_email hears of it, 0 for no budget; see docs/costs.md for the tag that it counts by
    images_bucket_arn     another bucket that runs may read images from, "" for none
    subnets, security_groups  of a VPC that workers join; none is needed to reach S3, see docs/architecture.md
    cost_centre           the tag
    """

    name: str
    disposable: bool = False
    termination_protection: bool = True
    release: Release = DEFAULT_RELEASE
    architecture: Architecture = "arm64"
    driver: Worker = field(default=Worker(vcpus=2, memory_gb=8))
    executor: Worker = field(default=Worker(vcpus=4, memory_gb=8))
    max_executors: int = 3
    max_vcpus: int = DEFAULT_QUOTA_VCPUS
    quota_vcpus: int = DEFAULT_QUOTA_VCPUS
    idle_minutes: int = 5
    timeout_minutes: int = 720
    retention_days: int = 30
    artifacts_days: int = 365
    customer_managed_key: bool = False
    alert_email: str = ""
    monthly_budget_usd: int = 0
    images_bucket_arn: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    cost_centre: str = "verger"

    def __post_init__(self) -> None:
        self._check_words()
        self._check_numbers()
        self._check_capacity()
        self._check_agreement()

    def _check_words(self) -> None:
        self._match("name", self.name, NAME, "a lower-case word of up to 10 letters and digits, such as dev")
        self._match("alert_email", self.alert_email, f"({EMAIL})?", "an address such as team@example.org, or nothing")
        self._match(
            "images_bucket_arn", self.images_bucket_arn, f"({BUCKET_ARN})?", "a bucket's ARN such as arn:aws:s3:::photos, or nothing"
        )
        self._within("subnets", len(self.subnets), 0, MOST_SUBNETS)
        self._within("security_groups", len(self.security_groups), 0, MOST_SECURITY_GROUPS)
        for subnet in self.subnets:
            self._match("subnets", subnet, SUBNET, "ids such as subnet-0123456789abcdef0")
        for group in self.security_groups:
            self._match("security_groups", group, SECURITY_GROUP, "ids such as sg-0123456789abcdef0")
        self._match("cost_centre", self.cost_centre, r"[A-Za-z0-9_ .:/=+@-]{1,256}", "up to 256 letters, digits, spaces and _.:/=+-@")
        if self.architecture not in self.release.architectures:
            raise self._bad("architecture", self.architecture, f"{self.release.label} runs on {' and '.join(self.release.architectures)}")

    def _check_numbers(self) -> None:
        self._within("max_executors", self.max_executors, 1, 1000)
        self._within("idle_minutes", self.idle_minutes, 1, 10_080)
        self._within("timeout_minutes", self.timeout_minutes, 5, 10_080)
        self._within("artifacts_days", self.artifacts_days, 0, 3650)
        self._within("monthly_budget_usd", self.monthly_budget_usd, 0, 1_000_000)
        if self.retention_days not in RETENTION_DAYS:
            raise self._bad("retention_days", self.retention_days, f"one of {', '.join(map(str, RETENTION_DAYS))}")

    def _check_capacity(self) -> None:
        smallest = self.driver.vcpus + self.executor.vcpus
        if not smallest <= self.max_vcpus <= self.quota_vcpus:
            raise self._bad(
                "max_vcpus",
                self.max_vcpus,
                f"at least {smallest}, for a driver and an executor, and at most quota_vcpus = {self.quota_vcpus}; "
                "a new account has 16, and Service Quotas L-D05C8A75 raises it",
            )
        if self.run_vcpus > self.max_vcpus:
            raise self._bad(
                "max_executors",
                self.max_executors,
                f"{self.driver.vcpus} + {self.max_executors} x {self.executor.vcpus} vCPUs are above max_vcpus = {self.max_vcpus}",
            )

    def _check_agreement(self) -> None:
        if self.disposable and self.termination_protection:
            raise self._bad("termination_protection", True, "false where disposable = true")
        if bool(self.subnets) != bool(self.security_groups):
            raise self._bad("security_groups", list(self.security_groups), "subnets and security_groups go together")
        if self.monthly_budget_usd and not self.alert_email:
            raise self._bad("monthly_budget_usd", self.monthly_budget_usd, "a budget needs alert_email")

    @property
    def run_vcpus(self) -> int:
        """vCPUs of one run at its largest."""
        return self.driver.vcpus + self.max_executors * self.executor.vcpus

    @property
    def concurrent_runs(self) -> int:
        """Runs at once. Further ones queue: the driver of one for which there are no executors would wait, and be billed."""
        return min(MOST_RUNS, self.max_vcpus // self.run_vcpus)

    @property
    def max_memory_gb(self) -> int:
        """Memory of as many workers as max_vcpus allows, in GB."""
        return self._at_most(lambda worker: worker.memory_gb)

    @property
    def max_disk_gb(self) -> int:
        """Disk of as many workers as max_vcpus allows, in GB."""
        return self._at_most(lambda worker: worker.disk_gb)

    def _at_most(self, size: Any) -> int:
        return int(max(size(worker) * -(-self.max_vcpus // worker.vcpus) for worker in (self.driver, self.executor)))

    def _match(self, name: str, value: str, pattern: str, allowed: str) -> None:
        if not re.fullmatch(pattern, value):
            raise self._bad(name, value, allowed)

    def _within(self, name: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            raise self._bad(name, value, f"{least} to {most}")

    def _bad(self, name: str, value: object, allowed: str) -> BadEnvironment:
        return BadEnvironment(f"environment {self.name}: {name} = {_toml(value)}", f"allowed: {allowed}")


def load_environments(file: Path = FILE) -> dict[str, Environment]:
    """The environments in a TOML file by name, in its order. BadEnvironment where it cannot be read or one of them cannot be."""
    try:
        tables = tomllib.loads(file.read_text())
    except OSError as error:
        raise BadEnvironment(f"{file}: {error.strerror}", "it holds a table for each environment") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadEnvironment(f"{file.name}: {error}", "it is TOML, a table for each environment") from error
    if not tables or "all" in tables:
        what = "there is no environment in it" if not tables else "an environment cannot be called all"
        raise BadEnvironment(f"{file.name}: {what}", "it holds a table for each environment, such as [dev]")
    return {name: _environment(name, table) for name, table in tables.items()}


def select_environments(wanted: str, environments: Mapping[str, Environment]) -> list[Environment]:
    """Those named in `wanted`, separated by commas, or all. BadEnvironment for a name that there is not."""
    names = list(environments) if wanted == "all" else wanted.split(",")
    if unknown := [name for name in names if name not in environments]:
        raise BadEnvironment(f"environment {unknown[0]!r} is unknown", f"allowed: all, {', '.join(environments)}; see infra/{FILE.name}")
    return [environments[name] for name in dict.fromkeys(names)]


def _environment(name: str, table: Any) -> Environment:
    if not isinstance(table, dict):
        raise BadEnvironment(f"{FILE.name}: {name} = {_toml(table)}", "allowed: tables, one for each environment")
    return Environment(name=name, **_typed(f"environment {name}", table, Environment, without={"name"}))


def _typed(where: str, table: Mapping[str, Any], kind: type, *, without: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    """The table's values as the fields of `kind` want them."""
    known = {each.name: each for each in fields(kind) if each.name not in without}
    hints = get_type_hints(kind)
    for name in table:
        if name not in known:
            raise BadEnvironment(f"{where}: {name} is no field", f"allowed: {', '.join(known)}")
    if missing := [name for name, each in known.items() if _is_required(each) and name not in table]:
        raise BadEnvironment(f"{where}: {missing[0]} is missing", f"give {', '.join(missing)}")
    return {name: _value(f"{where}: {name}", value, hints[name]) for name, value in table.items()}


def _is_required(each: Any) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _value(where: str, value: Any, kind: Any) -> Any:
    """`value` as a field of type `kind`; BadEnvironment where it is of another."""
    if kind is Worker and isinstance(value, dict):
        return _worker(where, value)
    if kind is Release and isinstance(value, str):
        return _release(where, value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if kind is Architecture and value in get_args(Architecture):
        return value
    if type(value) is kind:
        return value
    raise BadEnvironment(f"{where} = {_toml(value)}", f"allowed: {_EXPECTED[kind]}")


_EXPECTED: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "text in quotes",
    tuple[str, ...]: "a list of texts",
    Worker: "a table such as { vcpus = 4, memory_gb = 8, disk_gb = 20 }",
    Release: "a release label in quotes",
    Architecture: " or ".join(get_args(Architecture)),
}


def _worker(where: str, table: Mapping[str, Any]) -> Worker:
    try:
        return Worker(**_typed(where, table, Worker))
    except BadEnvironment as error:
        raise error if str(error).startswith(where) else BadEnvironment(f"{where}: {error}", f"allowed: {error.hint}") from error


def _release(where: str, label: str) -> Release:
    try:
        return release_of(label)
    except ValueError as error:
        raise BadEnvironment(f"{where} = {_toml(label)}", f"allowed: {', '.join(each.label for each in RELEASES)}") from error


def _toml(value: object) -> str:
    """A value as TOML writes it, near enough for a message on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"'.replace("\n", "\\n") if isinstance(value, str) else str(value)
