"""How hypothesis runs here: seeded, so that a failure repeats, and with no deadline, since the cores are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("verger", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("verger")
