"""An account that has everything: dev and prod, one more with every option on, and delivery.

dev is synthesised as for its deletion, data and all: what empties its bucket is part of it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.conftest import lacking
from tests.infra.assembly import DEV_AND_PROD, REPO, synthesise
from tests.infra.deployed import Account

PHOTOS = "arn:aws:s3:::photos"
ALBUMS = "arn:aws:s3:::albums"


@cache
def account() -> Account:
    """Synthesised once; nothing is built and nothing is asked of AWS."""
    try:
        from infra.environments import load_environments
    except ImportError as error:
        lacking(f"no CDK: {error}")
    environments = load_environments(DEV_AND_PROD)
    options = {"alert_email": "team@example.org", "monthly_budget_usd": 100, "images_bucket_arn": PHOTOS}
    network = {"subnets": ("subnet-0123456789abcdef0",), "security_groups": ("sg-0123456789abcdef0",)}
    environments["full"] = replace(environments["prod"], name="full", **options, **network)
    environments["later"] = replace(environments["dev"], name="later", images_bucket_arn=ALBUMS)
    with tempfile.TemporaryDirectory() as folder:
        return synthesise(Path(folder), environments=environments, repository=REPO, delete_data="dev").account
