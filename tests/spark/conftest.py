"""A session that the Spark tests share, a folder of pictures, and the network that NumPy can check."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from job import cli, pipeline
from job.config import Command, Session
from job.report.summary import Summary
from job.session import spark_context
from job.sources import listing
from tests.conftest import REPOSITORY, lacking

MODEL = Path(__file__).parent / "tiny" / "model.tflite"
SIDE, BLOCK = 32, 8


@pytest.fixture(scope="session")
def java() -> None:
    if not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        lacking("no Java here: Spark needs version 17")


@pytest.fixture(scope="session")
def sc(java, s3_server):  # noqa: ARG001  asked for its skip, and for what workers inherit
    with spark_context(Session(cores=2, quiet=True)) as context:
        yield context


@pytest.fixture
def job(sc, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Summary]:
    """Runs a command line in the shared session: job("run", "--images", …) -> summary; raises what main() would print."""
    monkeypatch.setattr(pipeline, "spark_context", lambda _session: nullcontext(sc))

    def run(*argv: object) -> Summary:
        done: list[Summary] = []
        words = [str(word) for word in argv]
        if words[0] in ("run", "featurize") and "--model" not in words:
            words += ["--model", str(MODEL)]
        command: Command = cli.parse([*words, "--quiet"])
        done.append(pipeline.execute(command))
        return done[0]

    return run


def process(*argv: object, cwd: Path = REPOSITORY, **environment: str) -> subprocess.Popen[str]:
    """`python -m job …` as a process of its own, on two cores."""
    return subprocess.Popen(
        [sys.executable, "-m", "job", *map(str, argv), "--cores", "2"],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ended(running: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kills by its own id what a failing test would leave running."""
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # what is waited for is another process', which has no way to wake this one


def picture(seed: int, *, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A smooth colourful picture; every seed another."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def several_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few pictures of a test would be one task, where its driver is this process."""
    monkeypatch.setattr(listing, "SMALLEST_SHARE", 16)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 good pictures of three labels, one of them a spreadsheet's nightmare."""
    root = tmp_path_factory.mktemp("images")
    for place, label in enumerate(("apple", 'pear, "Abate"', "quince")):
        (root / label).mkdir()
        for number in range(20):
            picture(100 * place + number).save(root / label / f"{number:02}.png")
    return root


BROKEN = {"empty.jpg": b"", "text.jpg": b"# Not a picture\n", "cut.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"}


def add_broken(root: Path) -> int:
    """Puts broken files among the pictures; returns how many."""
    for label in ("apple", "quince"):
        for name, data in BROKEN.items():
            (root / label / name).write_bytes(data)
    return 2 * len(BROKEN)


@pytest.fixture
def images(pictures: Path, tmp_path: Path) -> Path:
    """60 good pictures, and 6 that are broken."""
    shutil.copytree(pictures, tmp_path / "images")
    add_broken(tmp_path / "images")
    return tmp_path / "images"


def grid_means(file: str) -> NDArray[np.float32]:
    """The tiny network's features of a picture, by NumPy."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float64) / 255
    blocks = pixels.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK, 3)
    return blocks.mean(axis=(1, 3)).ravel().astype(np.float32)


def read(folder: Path) -> pa.Table:
    """A dataset, in order of path."""
    return pq.read_table(folder).sort_by("path")


def rows(table: pa.Table, column: str = "features") -> NDArray[np.float32]:
    """A list column as (n, d)."""
    return np.stack([np.asarray(row, np.float32) for row in table[column].to_pylist()])
