"""An account that has everything: dev and prod as they are, one more with every option on, and delivery.

dev is synthesised as for its deletion, data and all: what empties its bucket is part of it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY, lacking
from tests.infra.deployed import Account, read_templates
from tests.infra.simulator import node

PHOTOS = "arn:aws:s3:::photos"
ALBUMS = "arn:aws:s3:::albums"
REPO = "example/verger"


@cache
def account() -> Account:
    """Synthesised once; nothing is built and nothing is asked of AWS."""
    os.environ.setdefault("JSII_NODE", node())
    try:
        from aws_cdk import App

        from infra.app import synthesise
        from infra.environments import load_environments
    except ImportError as error:
        lacking(f"no CDK: {error}")
    environments = load_environments()
    options = {"alert_email": "team@example.org", "monthly_budget_usd": 100, "images_bucket_arn": PHOTOS}
    network = {"subnets": ("subnet-0123456789abcdef0",), "security_groups": ("sg-0123456789abcdef0",)}
    environments["full"] = replace(environments["prod"], name="full", **options, **network)
    environments["later"] = replace(environments["dev"], name="later", images_bucket_arn=ALBUMS)  # not synthesised
    flags = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    with tempfile.TemporaryDirectory() as folder:
        wanted = {
            "environment": "dev,prod,full",
            "repository": REPO,
            "placeholders": "true",
            "delete_data": "dev",
            "build": f"{folder}/build",
        }
        synthesise(App(context={**flags, **wanted}, outdir=f"{folder}/out"), environments=environments)
        return Account(read_templates(Path(folder, "out")))
