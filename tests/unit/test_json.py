"""What machines read of each verb: JSON, and nothing else on stdout. In this process, with moto's AWS; no socket is opened."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from bootstrap.cli import _parser, main
from bootstrap.findings import Finding
from bootstrap.rehearsal.account import Step
from bootstrap.run import Seen
from tests.unit.account import BUCKET, HERE, saying
from tests.unit.test_environment import CARD
from tests.unit.test_fetch import local, seen  # noqa: F401  fixtures: a run that has succeeded, with its results

BILLED = {"vCPUHour": 2.0, "memoryGBHour": 4.0, "storageGBHour": 10.0}
VERBS = {  # the words after each, and a name that its document has; "" for a list
    "stage": (["{photos}", f"s3://{BUCKET}/images/"], "uploaded"),
    "doctor": ([*HERE], "findings"),
    "submit": ([*HERE, "--results", "second"], "run"),
    "follow": ([*HERE, "first"], "state"),
    "fetch": ([*HERE, "first", "{out}"], "rows"),
    "cost": ([*HERE, "first"], "usd"),
    "estimate": (["--images", "1000"], "usd"),
    "runs": ([*HERE], ""),
    "rehearse": ([], ""),
    "environment": (["--out", "{out}"], "archive"),
    "forecast": ([], "forecasts"),
}
PATHS = {"compile", "pictures", "plot", "warm"}  # print where what they made is, or nothing: there is no table to read


@pytest.fixture
def places(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:  # noqa: ARG001, F811  asked for its run
    """Folders that the verbs are given. What takes minutes has been done, and what moto's account lacks is well."""
    saying(monkeypatch, "jobRun", billedResourceUtilization=BILLED)
    monkeypatch.setattr("bootstrap.rehearsal.rehearse.rehearse", lambda *_, **__: [Step("build", 1.5, "all of it")])
    monkeypatch.setattr("bootstrap.doctor.examine", lambda *_, **__: [("images", Finding("ok", "one"))])
    monkeypatch.setattr("bootstrap.environment.build.build_environment", lambda *_, **__: CARD)
    photos = tmp_path / "photos" / "apple"
    photos.mkdir(parents=True)
    (photos / "1.jpg").write_bytes(b"one")
    return {"photos": photos.parent, "out": tmp_path / "out"}


def test_a_machine_gets_one_document_where_a_person_gets_a_table(places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other in one account, which takes longer to make than all of them."""
    for verb, (words, name) in VERBS.items():
        argv = [verb, *(word.format(**places) for word in words)]
        assert main([*argv, "--json"]) == 0, verb
        document = json.loads(capsys.readouterr().out)
        assert name in document if name else isinstance(document, list) and document, verb
        if verb == "fetch":
            argv[-1] += "-again"  # it wants a new folder
        assert main(argv) == 0, verb
        capsys.readouterr()


def test_each_verb_is_for_machines_or_prints_a_path() -> None:
    parsers: dict[str, argparse.ArgumentParser] = next(
        action.choices for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    assert {verb for verb, parser in parsers.items() if "--json" in parser.format_help()} == set(VERBS)
    assert set(parsers) - set(VERBS) == PATHS


def test_the_forecast_s_document_has_the_table_s_figures(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["forecast", "--prefixes", "3", "--image-bytes", "70000", "--region", "eu-central-1"]
    assert main([*flags, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["prefixes"], document["image_bytes"], document["region"]) == (3, 70_000, "eu-central-1")
    assert main(flags) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    assert len(rows) == len(document["forecasts"])
    for row, found in zip(rows, document["forecasts"], strict=True):
        walls = {stage["name"]: stage["wall"] for stage in found["stages"]}
        figures = [f"{found['images']:,}", f"{found['vcpus']:,}", f"{found['hours']:.2f}", f"{found['usd']:,.2f}"]
        seconds = [word for stage in found["stages"] for word in (f"{stage['seconds']:,.0f}", "s")]
        expected = [*figures, *seconds, f"{found['needed_prefixes']}", *walls[found["held_up_by"]].split()]
        assert row[: len(expected)] == expected
