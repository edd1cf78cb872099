"""Starts the app. cdk.json adds -O, which leaves out CDK's checks of argument types: mypy has made them."""

import gc
import sys

gc.disable()  # the process lives for a second, and nearly all that it makes, CDK's classes first, lives as long

from infra.app import main  # noqa: E402  after the line above, as the import makes most of it

sys.exit(main())
