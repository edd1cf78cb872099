"""The CDK app: the one place that reads the context, and where errors become one line."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from aws_cdk import Annotations, App

from infra.artifacts import BUILD, build
from infra.boundary import bound
from infra.delivery import check_delivery
from infra.environments import FILE, Environment, load_environments, select_environments
from infra.errors import BadEnvironment, InfraError
from infra.stacks import BoundaryStack, DeliveryStack, EnvironmentStack, JobStack, StorageStack, WatchStack


def main(app: App | None = None) -> int:
    """Synthesises what the context asks for; returns the exit code."""
    try:
        synthesise(app or App())
    except InfraError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def synthesise(app: App, *, environments: dict[str, Environment] | None = None) -> None:
    """Adds the stacks to `app` and writes their templates. InfraError where the context or the artifacts are not good.

    Context: environment (a name, several with commas, or "all"), repository (OWNER/NAME, or OWNER@ID/NAME@ID: adds
    Verger-Boundary, which then bounds the environments' roles, and where all environments are chosen Verger-Delivery),
    oidc_provider_arn (an existing one), delete_data (a disposable environment's name), placeholders (true or false),
    build (folder of artifacts), environments (another file of them, where the argument is not given).
    """
    known = load_environments(Path(_text(app, "environments") or FILE)) if environments is None else environments
    chosen = select_environments(_text(app, "environment"), known)
    delete_data, repository, provider_arn = (_text(app, name) for name in ("delete_data", "repository", "oidc_provider_arn"))
    _refuse_to_delete(delete_data, known, chosen)
    check_delivery(repository, provider_arn)
    targets = [_add(app, environment, delete_data=delete_data == environment.name) for environment in chosen]
    if repository:
        _bound(app, list(known.values()))
        if len(chosen) == len(known):
            DeliveryStack(app, repository=repository, provider_arn=provider_arn, targets=[job.target for job in targets])
    app.synth()


def _add(app: App, environment: Environment, *, delete_data: bool) -> JobStack:
    built = build(environment, folder=Path(_text(app, "build") or BUILD), placeholders=_flag(app, "placeholders"))
    for command in built.missing:
        print(
            f"note: a placeholder in {environment.name}, which cannot be deployed; to build what it stands for: {command}", file=sys.stderr
        )
    storage = StorageStack(app, environment=environment, delete_data=delete_data)
    job = JobStack(app, environment=environment, storage=storage.storage, built=built)
    WatchStack(app, environment=environment, storage=storage.storage, runtime=job.runtime)
    if not environment.disposable and not environment.alert_email:
        print(f"note: nobody hears of runs that fail in {environment.name}: set its alert_email in infra/{FILE.name}", file=sys.stderr)
    if environment.release.supported_until < date.today():
        Annotations.of(job).add_warning_v2(
            "verger:release", f"{environment.release.label} has been out of support since {environment.release.supported_until}"
        )
    return job


def _bound(app: App, environments: list[Environment]) -> None:
    """The boundary of all environments there are, deployed before those that are synthesised, and on each of their roles."""
    stacks = [each for each in app.node.children if isinstance(each, EnvironmentStack)]
    boundary = BoundaryStack(app, environments=environments)
    for stack in stacks:
        stack.add_stack_dependency(boundary)
        bound(stack)


def _refuse_to_delete(name: str, known: dict[str, Environment], chosen: list[Environment]) -> None:
    """The second key turns nothing where there is no first one, or no lock."""
    if name and name not in known:
        raise BadEnvironment(f"delete_data = {name}: no such environment", f"allowed: {', '.join(known)}")
    if name and not known[name].disposable:
        raise BadEnvironment(
            f"delete_data = {name}: its data stays, as it is not disposable", "allowed: an environment with disposable = true"
        )
    if name and known[name] not in chosen:
        raise BadEnvironment(f"delete_data = {name}: it is not among the environments that are chosen", f"choose it: -c environment={name}")


def _text(app: App, name: str) -> str:
    return str(app.node.try_get_context(name) or "")


def _flag(app: App, name: str) -> bool:
    value = _text(app, name).lower()
    if value not in ("", "true", "false"):
        raise BadEnvironment(f"{name} = {value}", "allowed: true or false")
    return value == "true"
