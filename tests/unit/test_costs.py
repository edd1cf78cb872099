"""What a run is estimated to cost: laws of the formula, one bill by hand, and the command around it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.cli import main
from bootstrap.costs import (
    OLD_VERSIONS_MONTHS,
    START_S,
    WAIT_S,
    Fleet,
    Item,
    Worker,
    Workload,
    estimate,
    measured_rate,
    shares,
)
from bootstrap.prices import ARM64_FACTOR, PRICES, Compute, Prices
from infra.environments import Environment
from job.sources.listing import ListingPart, plan_shares
from tests.conftest import REPOSITORY

NICE = Prices({"arm64": Compute(0.04, 0.005), "x86_64": Compute(0.05, 0.00625)}, 0.0001, puts=0.005, gets=0.0004, gb_month=0.02, source="")
WORK = Workload(images=50_000_000, image_bytes=5_000, rate=200.0)

counts = st.integers(1, 10**9)
rates = st.floats(0.1, 1e4)
executors = st.integers(1, 500)
works = st.builds(Workload, counts, st.floats(1, 1e8), rates)
fleets = st.builds(Fleet, executors=executors, architecture=st.sampled_from(["arm64", "x86_64"]), start_s=st.floats(0.1, 600))


def item(name: str, items: tuple[Item, ...], group: str = "run") -> Item:
    (found,) = [each for each in items if (each.name, each.group) == (name, group)]
    return found


def executors_hours(work: Workload, fleet: Fleet) -> float:
    """vCPU-hours of executors, without those of their start."""
    bill = estimate(work, fleet, NICE)
    return (bill.billed_s - START_S) * fleet.slots / 3600


def test_a_bill_by_hand() -> None:
    """One executor of 2 vCPUs at 100 images/s each: 720,000 images are an hour, and a minute for the start."""
    fleet = Fleet(Worker(1, 2), Worker(2, 4, 40), executors=1)
    work = Workload(720_000, 2**30 / 1000, 100.0)
    bill = estimate(work, fleet, NICE)
    assert bill.billed_s == 3660
    assert bill.wall_s == 3660 + WAIT_S
    hours = 3660 / 3600
    expected = {
        "vCPUs": hours * 3 * 0.04,
        "memory": hours * 6 * 0.005,
        "disk beyond the free": hours * 20 * 0.0001,
        "GET": 720 * 0.0004,
        "LIST, at most": 0.820 * 0.005,  # 720 pages, and 50 looks for each of two cores
        "PUT and COPY": 4 * shares(work, 2) / 1000 * 0.005,  # features and faults, put and copied
        "old versions": 720_000 * 3_600 / 2**30 * 0.02,  # of the results, for the 30 days that an environment keeps them
    }
    assert {each.name: each.usd for each in bill.items if each.group == "run"} == pytest.approx(expected)
    assert item("PUT", bill.items, "upload").usd == pytest.approx(3.60)
    assert item("images", bill.items, "month").usd == pytest.approx(720 * 0.02)
    assert item("results", bill.items, "month").usd == pytest.approx(720_000 * 3_600 / 2**30 * 0.02)


@given(work=works, fleet=fleets, region=st.sampled_from(sorted(PRICES)))
def test_the_lines_add_up(work: Workload, fleet: Fleet, region: str) -> None:
    bill = estimate(work, fleet, PRICES[region])
    assert bill.usd == pytest.approx(bill.usd_of("upload") + bill.usd_of("run") + bill.usd_of("month"))
    assert all(each.usd >= 0 for each in bill.items)


@given(factor=st.integers(2, 20))
def test_many_more_images_cost_in_proportion(factor: int) -> None:
    once, often = (estimate(replace(WORK, images=WORK.images * times), Fleet(), NICE) for times in (1, factor))
    assert often.usd == pytest.approx(factor * once.usd, rel=0.01)  # the start is paid once


@given(work=works, fleet=fleets)
def test_a_worker_is_billed_for_a_minute_at_least(work: Workload, fleet: Fleet) -> None:
    assert estimate(work, fleet, NICE).billed_s >= 60
    assert estimate(replace(work, images=1, rate=1.0), replace(fleet, start_s=5.0), NICE).billed_s == 60


@given(more=st.integers(2, 40))
def test_more_executors_take_less_time_for_the_same_hours_of_work(more: int) -> None:
    few, many = Fleet(executors=1), Fleet(executors=more)
    assert estimate(WORK, many, NICE).wall_s < estimate(WORK, few, NICE).wall_s
    assert executors_hours(WORK, many) == pytest.approx(executors_hours(WORK, few), abs=many.slots / 3600)  # whole seconds


@given(work=works, fleet=fleets, factor=st.floats(1.01, 10))
def test_a_faster_vcpu_never_costs_more(work: Workload, fleet: Fleet, factor: float) -> None:
    slow, fast = (estimate(replace(work, rate=rate), fleet, NICE) for rate in (work.rate, work.rate * factor))
    assert fast.usd <= slow.usd
    assert fast.wall_s <= slow.wall_s


@pytest.mark.parametrize("region", sorted(PRICES))
def test_arm64_is_a_fifth_cheaper_everywhere(region: str) -> None:
    arm64, x86_64 = (estimate(WORK, Fleet(architecture=name), PRICES[region]) for name in ("arm64", "x86_64"))
    for name in ("vCPUs", "memory"):
        # The price lists round, and in sa-east-1 a GB-hour has 0.007956 where a fifth less would be 0.007904
        assert item(name, arm64.items).usd == pytest.approx(ARM64_FACTOR * item(name, x86_64.items).usd, rel=0.01)


@given(images=st.integers(1, 3_000_000), slots=st.integers(1, 1000), image_bytes=st.floats(0, 5e6))
@settings(deadline=None)  # three million photographs are a hundred thousand shares
def test_files_are_about_as_many_as_the_job_cuts(images: int, slots: int, image_bytes: float) -> None:
    planned = len(plan_shares([ListingPart("", images, image_bytes)], slots=slots))
    # The logarithm is that of ever smaller steps, and the job rounds sizes to whole images: by a third where these are few
    assert shares(Workload(images, image_bytes, 1.0), slots) == pytest.approx(planned, rel=0.35, abs=2)


@given(images=st.integers(1, 10_000_000), slots=st.integers(1, 1000))
def test_files_of_small_images_are_as_many_as_the_job_cuts(images: int, slots: int) -> None:
    planned = len(plan_shares([ListingPart("", images, 5000)], slots=slots))
    assert shares(Workload(images, 5000, 1.0), slots) == pytest.approx(planned, rel=0.1, abs=2)


def test_the_defaults_are_those_of_an_environment() -> None:
    environment, fleet = Environment("dev"), Fleet()

    def sizes(one: object) -> list[int]:
        return [getattr(one, name) for name in ("vcpus", "memory_gb", "disk_gb")]

    assert environment.retention_days == 30 * OLD_VERSIONS_MONTHS
    assert sizes(fleet.driver) == sizes(environment.driver)
    assert sizes(fleet.executor) == sizes(environment.executor)
    assert (fleet.executors, fleet.architecture) == (environment.max_executors, environment.architecture)


def test_the_rates_are_those_that_the_performance_page_shows() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text()
    assert "after session 28.8 s" in page
    assert "plain 16.5 images/s" in page
    assert measured_rate(5_000) == pytest.approx(12_000 / 28.8 / 2)
    assert measured_rate(2_800_000) == pytest.approx(16.5 / 2)


def test_pages_say_how_long_old_versions_stay_and_which_vcpus_reach_a_limit_of_s3() -> None:
    costs, account = ((REPOSITORY / "docs" / f"{name}.md").read_text() for name in ("costs", "architecture"))
    assert f"`retention_days` ({Environment('any').retention_days} by default)" in costs
    assert "5,500 GET" in account
    assert f" {5_500 / measured_rate(5_000):.0f} vCPUs of executors at the rate" in account


@given(size=st.floats(1, 1e9), factor=st.floats(1.01, 100))
def test_a_larger_image_takes_longer(size: float, factor: float) -> None:
    assert measured_rate(size) > measured_rate(size * factor) > 0


def test_the_table_says_what_a_run_costs_and_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--images", "1000000", "--rate", "200"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    bill = estimate(Workload(1_000_000, 5_000, 200.0), Fleet(), PRICES["us-east-1"])
    run = next(line for line in said.out.splitlines() if line.startswith("each run"))
    assert float(run.split("$")[1]) == pytest.approx(bill.usd_of("run"), abs=1e-4)
    for promised in (
        "1,000,000 of 5.0 KB",
        "not measured on EMR Serverless",
        "price lists",
        "if the rate is 100.0",
        "if the rate is 400.0",
    ):
        assert promised in said.out
    assert "disk beyond" not in said.out  # what is free is not listed


def test_json_has_the_same_bill(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--executors 7 --executor 8x16x40 --driver 4x8 --start-seconds 30"
    flags = f"--images 123456 --image-bytes 1e5 --rate 50 {sizes} --region sa-east-1 --architecture x86_64 --json".split()
    assert main(["estimate", *flags]) == 0
    said = json.loads(capsys.readouterr().out)
    bill = estimate(Workload(123_456, 1e5, 50.0), Fleet(Worker(4, 8), Worker(8, 16, 40), 7, "x86_64", 30.0), PRICES["sa-east-1"])
    assert [Item(**each) for each in said["items"]] == list(bill.items)
    assert said["usd"]["total"] == pytest.approx(bill.usd)
    assert (said["billed_s"], said["wall_s"]) == (bill.billed_s, bill.wall_s)
    assert [each["rate"] for each in said["sensitivity"]] == [25.0, 100.0]


def test_images_are_counted_as_the_job_counts_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder here, of which the patterns, or a list, of which a folder; sizes that are said are those that count."""
    for name, size in (("apple/1.jpg", 1_000), ("apple/2.png", 3_000), ("pear/3.jpg", 5_000), (".hidden/4.jpg", 9)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x" * size)
    pq.write_table(pa.table({"path": ["photos/apple/1.jpg", "photos/pear/3.jpg"]}), tmp_path / "some.parquet")
    photos, some = ["--images", str(tmp_path / "photos")], ["--images", str(tmp_path / "some.parquet")]
    for flags, images, image_bytes in (
        (photos, 3, 3_000),
        ([*photos, "--include", "*.jpg"], 2, 3_000),
        ([*photos, "--include", "*.png", "--include", "3.*"], 2, 4_000),
        (some, 2, 3_000),
        ([*some, "--under", str(tmp_path / "photos" / "pear")], 1, 5_000),
        ([*photos, "--image-bytes", "42"], 3, 42),
    ):
        assert main(["estimate", *flags, "--json"]) == 0
        work = json.loads(capsys.readouterr().out)["work"]
        assert (work["images"], work["image_bytes"], work["rate"]) == (images, image_bytes, measured_rate(image_bytes))


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (["--images", "{}/nowhere"], "cannot list", 1),
        (["--images", "{}"], "no images to estimate", 1),
        (["--images", "{}", "--under", "{}/a"], "is for a manifest or an inventory", 2),
        (["--images", "12", "--under", "{}/a"], "is for a manifest or an inventory", 2),
        (["--images", "{}", "--images", "s3://bucket/images"], "--images", 2),
        (["--images", "s3://"], "no name of a bucket", 2),
    ],
)
def test_images_that_cannot_be_counted_are_one_line_and_a_hint(
    flags: list[str], said: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *(flag.format(tmp_path) for flag in flags)]) == code
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: ")


def row(images: int) -> str:
    """A line of the page's table."""
    work = Workload(images, 5_000, measured_rate(5_000))
    bill, half, double = (estimate(replace(work, rate=work.rate * factor), Fleet(), PRICES["us-east-1"]) for factor in (1, 0.5, 2))
    compute = item("vCPUs", bill.items).usd + item("memory", bill.items).usd
    requests = sum(each.usd for each in bill.items if (each.group, each.unit) == ("run", "requests"))
    runs = [each.usd_of("run") for each in (bill, half, double)]
    money = [f"{usd:,.2f}" for usd in (bill.usd_of("upload"), compute, requests, *runs, bill.usd_of("month"))]
    return f"| {images:,} | {bill.wall_s / 3600:.2f} | {item('vCPUs', bill.items).quantity:,.2f} | {' | '.join(money)} |"


def test_the_page_shows_what_is_so(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "costs.md").read_text()
    for images in (10_000, 1_000_000, 100_000_000):
        assert f"\n{row(images)}\n" in page
    assert main(["estimate", "--images", "100000000"]) == 0
    shown = indent(capsys.readouterr().out, "    ")
    assert f"    $ .venv/bin/python -m bootstrap estimate --images 100000000\n{shown}" in page


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--images"),
        (("--images", "0"), "'0' is no whole number from 1"),
        (("--images", "-5"), "'-5' is no whole number from 1"),
        (("--images", "1e6"), "'1e6' is no whole number from 1"),
        (("--images", "²"), "'²' is no whole number from 1"),
        (("--images", "9" * 5000), "is no whole number from 1 to 1,000,000,000,000"),
        (("--images", "5", "--rate", "1e-320"), "'1e-320' is no number from 0.001 to 1,000,000,000"),
        (("--images", "5", "--image-bytes", "1e300"), "'1e300' is no number from 0.001"),
        (("--images", "5", "--executors", "1001"), "'1001' is no whole number from 1 to 1,000"),
        (("--images", "5", "--executor", "4x99999"), "'4x99999' is no size"),
        (("--images", "5", "--rate", "0"), "'0' is no number from 0.001"),
        (("--images", "5", "--rate", "nan"), "'nan' is no number from 0.001"),
        (("--images", "5", "--rate", "inf"), "'inf' is no number from 0.001"),
        (("--images", "5", "--rate", "fast"), "'fast' is no number from 0.001"),
        (("--images", "5", "--image-bytes", "-1"), "'-1' is no number from 0.001"),
        (("--images", "5", "--executors", "0"), "'0' is no whole number from 1"),
        (("--images", "5", "--executor", "4"), "'4' is no size"),
        (("--images", "5", "--executor", "4x8GB"), "'4x8GB' is no size"),
        (("--images", "5", "--driver", "0x8"), "'0x8' is no size"),
        (("--images", "5", "--driver", "2x8x10"), "20 GB of disk at least"),
        (("--images", "5", "--start-seconds", "0"), "'0' is no number from 0.001"),
        (("--images", "5", "--architecture", "arm"), "'arm'"),
        (("--images", "5", "--region", "mars-1"), "'mars-1'"),
    ],
)
def test_what_cannot_be_estimated_is_one_line_and_a_hint(flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", *flags]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    error, hint = output.err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint == "hint: python -m bootstrap estimate --help"


@pytest.mark.parametrize("region", PRICES)
def test_each_price_says_of_what_day_it_is_or_that_nobody_knows(region: str) -> None:
    for source in PRICES[region].source.split(";"):
        assert re.search(r"\b20\d\d-\d\d-\d\d\b|\bundated\b|\bderived\b", source)
