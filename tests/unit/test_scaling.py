"""How long large runs take: laws of the model, one stage by hand, its constants where they come from, and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import scaling
from bootstrap.cli import main
from bootstrap.costs import Fleet, Workload, measured_rate
from bootstrap.prices import PRICES
from bootstrap.scaling import STAGES, Forecast, busy_s, folds, forecast, vcpus_of_a_prefix
from job import s3
from job.pca import dataset
from job.pca import stage as pca_stage
from job.pca.moments import moments_of, save_moments
from job.sinks import resume
from job.sinks import stage as sinks_stage
from job.sources import duplicates, stage
from tests.conftest import REPOSITORY

PRICE = PRICES["us-east-1"]
counts = st.integers(1, 10**9)
works = st.builds(Workload, counts, st.just(5_000.0), st.floats(1, 1e4))
fleets = st.builds(Fleet, executors=st.integers(1, 500))


def seconds(found: Forecast) -> dict[str, float]:
    return {stage.name: stage.seconds for stage in found.stages}


def test_cores_share_what_images_take_and_not_the_start() -> None:
    assert busy_s(1_000, 4, start_s=3, image_s=0.01) == pytest.approx(3 + 2.5)


@given(work=works, fleet=fleets)
def test_stages_add_up_to_the_time_that_is_billed(work: Workload, fleet: Fleet) -> None:
    found = forecast(work, fleet, PRICE)
    assert tuple(seconds(found)) == STAGES
    assert found.bill.wall_s == pytest.approx(max(sum(seconds(found).values()), scaling.WAIT_S + 60), abs=1.01)


@given(work=works, fleet=fleets, prefixes=st.integers(1, 100))
def test_no_more_images_are_read_than_prefixes_answer(work: Workload, fleet: Fleet, prefixes: int) -> None:
    found = forecast(work, fleet, PRICE, prefixes=prefixes)
    assert seconds(found)["images"] >= work.images / (5_500 * prefixes) * (1 - 1e-9)
    assert found.hours >= forecast(work, fleet, PRICE).hours - 1e-9


@given(work=works, executors=st.integers(1, 250))
def test_twice_the_executors_take_half_the_time_where_no_wall_is_met(work: Workload, executors: int) -> None:
    few, many = (forecast(work, Fleet(executors=factor * executors), PRICE) for factor in (1, 2))
    for one, other in zip(few.stages, many.stages, strict=True):
        if not one.wall and not other.wall and one.name in ("images", "projecting"):
            assert other.seconds == pytest.approx(one.seconds / 2)


@given(work=works, fleet=fleets)
def test_images_in_enough_prefixes_never_wait_for_s3(work: Workload, fleet: Fleet) -> None:
    found = forecast(work, fleet, PRICE)
    assert found.prefixes * vcpus_of_a_prefix(work.rate) >= fleet.slots or vcpus_of_a_prefix(work.rate) == 0
    assert "requests to a prefix" not in {stage.wall for stage in found.stages}


def test_a_stage_by_hand() -> None:
    """A million images, 16 vCPUs of 100 images/s each: 62,500 for each vCPU, at 10 ms and the client's 0.141."""
    found = seconds(forecast(Workload(1_000_000, 5_000, 100.0), Fleet(executors=4), PRICE))
    assert found["images"] == pytest.approx(62_500 * 10.141e-3)
    assert found["projecting"] == pytest.approx(1_000_000 * 3_500 / 60e6 / 16)
    assert found["listing"] == pytest.approx(63 * 0.1 + 62_500 * scaling.KEY_S)  # the longest range has 63 of the 1,000 pages


def test_its_numbers_are_those_of_the_job(tmp_path: Path) -> None:
    assert scaling.FOOTERS_AT_ONCE == dataset.FOOTERS_AHEAD
    assert scaling.COPIES_AT_ONCE == s3.REQUESTS
    assert scaling.FOLDS_PER_SLOT == pca_stage.TASKS_PER_SLOT
    assert scaling.ROWS_PER_FOLD == (pca_stage.ROWS_PER_TASK, pca_stage.MOST_ROWS_PER_TASK)
    assert folds(100_000_000, 16) == 500
    save_moments(moments_of(np.ones((2, 1280), np.float32)), tmp_path / "moments.npy")
    assert (tmp_path / "moments.npy").stat().st_size == pytest.approx(scaling.MOMENTS_BYTES, rel=1e-3)


def test_its_constants_are_those_that_benches_printed() -> None:
    performance, page = ((REPOSITORY / "docs" / name).read_text() for name in ("performance.md", "scaling.md"))
    assert f"reader {1e3 * scaling.GET_S:.3f} ms CPU" in performance
    assert f"boto3 {1e3 * scaling.COPY_CPU_S:.3f} ms CPU" in performance
    driver = (
        f"{1e3 * scaling.TASK_S:.2f} ms a task, {1e3 * scaling.FOOTER_S:.2f} ms a file of features,"
        f" {1e3 * scaling.MERGE_S:.2f} ms a file of moments, {1e6 * scaling.KEY_S:.2f} ms a thousand keys"
    )
    assert driver in page


def test_the_page_says_how_long_bounded_tasks_wait_for_s3() -> None:
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    assert f"| keys of earlier rows | {resume.FILES_PER_TASK} files of some 4,096 rows, seven requests each |" in page
    requests = len(["footer", *resume.KEY_COLUMNS]) - 1  # only faults have a reason
    assert requests == 7
    for task, seconds in [
        ("keys of earlier rows", resume.FILES_PER_TASK * requests * scaling.GET_LATENCY_S),
        ("comparing them", 100_000_000 / stage.ROWS_PER_PART / duplicates.READ_AHEAD * scaling.GET_LATENCY_S),
        ("moments", pca_stage.MOST_ROWS_PER_TASK * scaling.FEATURES_BYTES / scaling.CONNECTION),
        ("projections", sinks_stage.ROWS_PER_SHEET * scaling.FEATURES_BYTES / scaling.CONNECTION),
    ]:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {task} |")]
        assert f"| {seconds:.0f} s" in line
    assert f"| {scaling.MOMENTS_BYTES / scaling.CONNECTION:.1f} s a file |" in page


@pytest.mark.parametrize("flags", [(), ("--prefixes", "1")])
def test_the_page_shows_what_is_so(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    assert main(["forecast", *flags]) == 0
    shown = indent(capsys.readouterr().out, "    ")
    assert f"    $ {' '.join(('.venv/bin/python -m bootstrap forecast', *flags))}\n{shown}" in page


def test_photographs_need_fewer_prefixes() -> None:
    work = Workload(1_000_000, 2.8e6, measured_rate(2.8e6))
    assert forecast(work, Fleet(executors=250), PRICE).prefixes < forecast(replace(work, rate=200.0), Fleet(executors=250), PRICE).prefixes


@pytest.mark.parametrize("flags", [("--prefixes", "0"), ("--image-bytes", "-1"), ("--region", "mars-1")])
def test_what_cannot_be_forecast_is_one_line_and_a_hint(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", *flags]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert flags[1] in error
    assert hint == "hint: python -m bootstrap forecast --help"
