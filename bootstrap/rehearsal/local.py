"""The guard of the rehearsal: nothing of it can reach AWS, or act as whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from bootstrap.errors import BootstrapError

HOSTS = ("localhost", "127.0.0.1")
DUMMY = "testing"  # the name that moto's documentation gives to credentials that are none
ACCOUNT, REGION = "123456789012", "us-east-1"


class NotLocal(BootstrapError):
    """A rehearsal that could reach an account."""


def local_environment(environ: Mapping[str, str], *, endpoint: str) -> dict[str, str]:
    """`environ` for a command of the rehearsal: nothing of AWS but this endpoint, dummy credentials and a region.

    All variables that begin with AWS_ go: a profile, a role, an endpoint of one service would come before what is set here.
    NotLocal where the endpoint is no server of this machine.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    made = kept | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": DUMMY,
        "AWS_SECRET_ACCESS_KEY": DUMMY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "NO_PROXY": ",".join(HOSTS),
        "no_proxy": ",".join(HOSTS),
    }
    refuse_unless_local(made)
    return made


def refuse_unless_local(environ: Mapping[str, str]) -> None:
    """NotLocal unless whoever runs with `environ` reaches this machine only, and has dummy credentials only."""
    endpoints = {name: value for name, value in environ.items() if name.startswith("AWS_ENDPOINT_URL")}
    if "AWS_ENDPOINT_URL" not in endpoints:
        raise NotLocal("AWS_ENDPOINT_URL is not set: a rehearsal could reach AWS", "python -m bootstrap rehearse sets it")
    for name, value in endpoints.items():
        if urlsplit(value).hostname not in HOSTS:
            raise NotLocal(f"{name} = {value} is no server of this machine", f"a rehearsal runs against {' or '.join(HOSTS)} only")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if environ.get(name) != DUMMY:
            raise NotLocal(f"{name} is not the dummy {DUMMY!r}", "a rehearsal runs without credentials of an account")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        if name in environ:
            raise NotLocal(f"{name} is set: a rehearsal could act as somebody", f"unset {name}")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        if environ.get(name) != "/dev/null":
            raise NotLocal(f"{name} is not /dev/null: a profile could name another endpoint", "python -m bootstrap rehearse sets it")
