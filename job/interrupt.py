"""That the run is to end: set when SIGINT or SIGTERM has arrived, for whoever waits for something else."""

from __future__ import annotations

from threading import Event

interrupted = Event()
