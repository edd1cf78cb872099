"""What a run says about itself: the table, the progress line, the summary, and how many faults are too many."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from job import contract
from job.config import MaxFaults
from job.pace import Pace, clock
from job.report import progress as reporting
from job.report.progress import listing_progress, progress
from job.report.summary import summarise, to_json, versions
from job.report.table import BAR, SHOWN, table
from job.sinks.tally import Tally

FEATURIZE = {
    "images": 12_345,
    "features": 12_340,
    "faults": 5,
    "faults_by_reason": {"truncated": 3, "corrupt": 2},
    "size_bytes": 61_700_000,
    "seconds": {"session": 2.5, "listing": 0.4, "featurize": 185.0},
    "images_per_second": 66.7,
    "model": {"backbone": "MobileNetV2", "feature_length": 1280, "sha256": "0123456789abcdef", "weights": "imagenet"},
    "random_weights": False,
}
FIT = {
    "explained": 0.75,
    "explained_ratio": [0.5, 0.2, 0.05],
    "k": 3,
    "rows": 12_340,
    "components_for": {"80%": 4, "90%": 9, "95%": 21, "99%": 80},
}
PROJECT = {"rows": 12_340, "centered": True}

SUMMARY = {"version": 1, "featurize": FEATURIZE, "fit": FIT, "project": PROJECT}
NOTHING = {"version": 1, "featurize": None, "fit": None, "project": None}


def tally(features: int = 0, **faults: int) -> Tally:
    return Tally(features, Counter(faults))


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["12,345 listed", "61.7 MB", "12,340 rows of 1280", "MobileNetV2 0123456789ab", "67 images/s", "featurize 3:05"]
)
def test_the_table_tells_what_was_read_and_how_fast(said: str) -> None:
    assert said in table(SUMMARY)


def test_the_table_lists_faults_by_reason_in_the_order_given() -> None:
    lines = [line.split() for line in table(SUMMARY).splitlines()]
    assert [line for line in lines if line[-1] in FEATURIZE["faults_by_reason"]] == [["3", "truncated"], ["2", "corrupt"]]


def test_the_table_tells_the_variance_of_each_component_and_of_all_up_to_it() -> None:
    rows = [line.split()[:3] for line in table(SUMMARY).splitlines() if line.strip().startswith("pc")]
    assert rows == [["pc1", "50.0%", "50.0%"], ["pc2", "20.0%", "70.0%"], ["pc3", "5.0%", "75.0%"]]


def test_the_table_tells_how_many_components_shares_need() -> None:
    assert "4 for 80%, 9 for 90%, 21 for 95%, 80 for 99%" in table(SUMMARY)


@given(ratios=st.lists(st.floats(1e-12, 1), min_size=1, max_size=20))
def test_bars_are_as_long_as_their_ratios_and_never_empty(ratios: list[float]) -> None:
    falling = sorted(ratios, reverse=True)
    lines = table(NOTHING | {"fit": FIT | {"explained_ratio": falling, "k": len(falling)}}).splitlines()
    lengths = [line.count("█") for line in lines if "█" in line]
    assert lengths == [max(1, round(BAR * ratio / falling[0])) for ratio in falling[:SHOWN]]


def test_only_the_first_components_and_reasons_are_listed() -> None:
    reasons = {f"reason{number}": 1 for number in range(20)}
    many = SUMMARY | {"featurize": FEATURIZE | {"faults_by_reason": reasons}, "fit": FIT | {"explained_ratio": [0.05] * 20}}
    text = table(many)
    assert text.count("█" * BAR) == SHOWN
    assert text.count("reason") == SHOWN


def test_random_weights_are_warned_about() -> None:
    model = FEATURIZE["model"] | {"weights": "random:7"}
    text = table(SUMMARY | {"featurize": FEATURIZE | {"model": model, "random_weights": True}})
    assert "warning" in text
    assert "random:7" in text
    assert "warning" not in table(SUMMARY)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"count": 12, "median": 0.0137, "max": 0.0206}, "median 1.37%, max 2.06% of 12 pictures"),
        ({"count": 1, "median": 0.0137, "max": 0.0137}, "of 1 picture measured"),
        ({"count": 0, "median": None, "max": None}, "no picture"),
    ],
)
def test_the_error_of_fast_decoding_is_one_row(error: dict[str, object], said: str) -> None:
    lines = table(SUMMARY | {"featurize": FEATURIZE | {"fast_decode_error": error}}).splitlines()
    (line,) = (line for line in lines if line.startswith("fast decode"))
    assert said in line
    assert len(lines) == len(table(SUMMARY).splitlines()) + 1


def test_without_fast_decoding_the_table_does_not_mention_it() -> None:
    assert table(SUMMARY | {"featurize": FEATURIZE | {"fast_decode_error": None}}) == table(SUMMARY)


def test_an_uncentered_projection_is_called_one() -> None:
    assert "uncentered" in table(SUMMARY | {"project": PROJECT | {"centered": False}})
    assert "uncentered" not in table(SUMMARY)


def test_the_table_tells_what_a_fit_merged() -> None:
    text = table(SUMMARY | {"fit": FIT | {"merged": [{"folder": "/old", "rows": 2_340}, {"folder": "/older", "rows": 7}]}})
    lines = [line for line in text.splitlines() if line.startswith("merged")]
    assert [line.split()[1] for line in lines] == ["2,340", "7"]
    assert [line.split()[-1] for line in lines] == ["/old", "/older"]


@pytest.mark.parametrize(("stage", "line"), [("featurize", "images"), ("fit", "variance"), ("project", "projected")])
def test_a_stage_that_has_not_run_has_no_line(stage: str, line: str) -> None:
    assert any(each.startswith(line) for each in table(SUMMARY).splitlines())
    assert not any(each.startswith(line) for each in table(SUMMARY | {stage: None}).splitlines())


def test_a_summary_of_nothing_is_an_empty_table() -> None:
    assert table(NOTHING) == ""


# --- summary.json ---------------------------------------------------------------------------------------------------


def test_stages_that_have_not_run_are_null(tmp_path: Path) -> None:
    assert summarise(tmp_path) == NOTHING


def test_each_stage_s_account_is_put_in_its_place(tmp_path: Path) -> None:
    places = {
        "featurize": (contract.FEATURES, contract.FEATURIZE_CARD),
        "fit": (contract.PCA, contract.PCA_CARD),
        "project": (contract.PROJECTIONS, contract.PROJECT_CARD),
    }
    for stage, (folder, card) in places.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / card).write_text(to_json({"stage": stage}))
    assert summarise(tmp_path) == {"version": contract.SUMMARY_VERSION} | {stage: {"stage": stage} for stage in places}


@dataclass(frozen=True)
class Card:
    name: str


def test_paths_sets_and_dataclasses_become_plain_json() -> None:
    text = to_json({"path": Path("/a"), "labels": frozenset("cab"), "card": Card("x"), "nested": [Card("y")]})
    assert text.endswith("}\n")
    assert json.loads(text) == {"path": "/a", "labels": ["a", "b", "c"], "card": {"name": "x"}, "nested": [{"name": "y"}]}


def test_versions_tell_python_and_the_packages_that_decide_results() -> None:
    assert {"python", "numpy", "pillow", "pyarrow", "pyspark"} <= versions().keys()
    assert all(version[0].isdigit() for version in versions().values())


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (0.4, "0 s"), (42, "42 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (3599.7, "1:00:00"), (7389, "2:03:09")],
)
def test_seconds_are_shown_as_a_clock_shows_them(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@given(seconds=st.floats(0, 1e7))
def test_a_clock_is_right_to_half_a_second(seconds: float) -> None:
    parts = [int(part) for part in clock(seconds).removesuffix(" s").split(":")]
    assert abs(sum(part * 60**place for place, part in enumerate(reversed(parts))) - seconds) <= 0.5
    assert all(part < 60 for part in parts[1:])


def test_a_line_tells_images_share_rate_faults_and_time_left() -> None:
    line = str(Pace(10_000, 2500, 100, 0, 25))
    assert line == "2,500 / 10,000 images  25%  100 images/s  100 faults  1:15 left"


def test_one_fault_is_no_faults() -> None:
    assert "1 fault " in f"{Pace(100, 10, 1, 0, 1)} "


def test_nothing_done_yet_promises_nothing() -> None:
    assert str(Pace(100, 0, 0, 0, 3)) == "0 / 100 images  0%  starting"


def test_all_done_has_nothing_left() -> None:
    assert str(Pace(100, 100, 0, 0, 10)) == "100 / 100 images  100%  10 images/s"


def test_what_earlier_runs_did_counts_as_done_and_not_as_fast() -> None:
    assert str(Pace(10_000, 5_000, 0, 5_000, 3)) == "5,000 / 10,000 images  50%  starting"
    assert str(Pace(10_000, 6_000, 0, 5_000, 10)) == "6,000 / 10,000 images  60%  100 images/s  40 s left"
    assert str(Pace(10, 10, 0, 10, 1)) == "10 / 10 images  100%"


def test_not_quite_all_is_not_called_all() -> None:
    assert "100%" not in str(Pace(10_000, 9999, 0, 0, 10))


@example(done=1, total=2, faults=0, before=0, seconds=0.0)
@given(
    done=st.integers(0, 1000),
    total=st.integers(0, 1000),
    faults=st.integers(0, 1000),
    before=st.integers(0, 1000),
    seconds=st.floats(0, 1e6),
)
def test_any_moment_can_be_told_in_one_line(done: int, total: int, faults: int, before: int, seconds: float) -> None:
    pace = Pace(total, done, faults, before, seconds)
    assert str(pace)
    assert "\n" not in str(pace)
    assert Pace.from_json(pace.to_json()) == pace


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    with progress(10, lambda: tally(10), quiet=True, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_a_log_gets_whole_lines_and_the_last_tells_the_end() -> None:
    stream = io.StringIO()
    with progress(10, lambda: tally(9, corrupt=1), quiet=False, stream=stream):
        pass
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().splitlines()[-1].startswith("10 / 10 images")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    stream = Terminal()
    with progress(10, lambda: tally(10), quiet=False, stream=stream):
        pass
    assert stream.getvalue().startswith("\r")
    assert stream.getvalue().count("\n") == 1


def test_a_file_tells_from_the_start_and_at_the_end_even_of_a_quiet_run(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    with progress(10, lambda: tally(9, corrupt=1), quiet=True, file=file, stream=io.StringIO()):
        while not file.exists():
            time.sleep(0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    told = Pace.from_json(file.read_text())
    assert (told.images, told.done, told.faults) == (10, 10, 1)


def test_a_file_keeps_up_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FILE_INTERVAL_S", 0.01)
    done = iter(range(10**9))
    told = set()
    with progress(10, lambda: tally(next(done)), quiet=True, file=tmp_path / "progress.json", stream=io.StringIO()):
        while len(told) < 3:
            if (tmp_path / "progress.json").exists():
                told.add(Pace.from_json((tmp_path / "progress.json").read_text()).done)


def test_a_file_that_cannot_be_written_fails_no_run(tmp_path: Path) -> None:
    stream = io.StringIO()
    with progress(10, lambda: tally(10), quiet=False, file=tmp_path / "nowhere" / "progress.json", stream=stream):
        pass
    assert stream.getvalue().splitlines()[-1].startswith("10 / 10 images")


def test_progress_lets_a_failure_through() -> None:
    with pytest.raises(KeyError), progress(10, tally, quiet=False, stream=io.StringIO()):
        raise KeyError


# --- what was counted -----------------------------------------------------------------------------------------------

TALLIES = st.builds(tally, st.integers(0, 99), corrupt=st.integers(0, 9), truncated=st.integers(0, 9))


@given(one=TALLIES, other=TALLIES)
def test_tallies_add_up(one: Tally, other: Tally) -> None:
    assert (one + other).images == one.images + other.images
    assert (replace(one, fast_decode_errors=(0.1,)) + replace(other, fast_decode_errors=(0.2, 0.3))).fast_decode_errors == (0.1, 0.2, 0.3)
    assert (replace(one, rounding_errors=(0.1,)) + replace(other, rounding_errors=(0.2,))).rounding_errors == (0.1, 0.2)
    assert one + other == other + one
    assert one + Tally() == one + tally() == Tally() + one


# --- too many faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("faults", "exceeded"), [(0, False), (3, False), (4, True)])
def test_a_count_of_faults_is_allowed_and_one_more_is_not(faults: int, exceeded: bool) -> None:
    assert MaxFaults(count=3).exceeded_by(faults, images=1000) is exceeded


@pytest.mark.parametrize("images", [100, 700, 12_000])
def test_a_share_of_faults_is_allowed_and_one_more_is_not(images: int) -> None:
    limits = {percent: (MaxFaults(share=percent / 100), percent * images // 100) for percent in range(101)}
    assert [percent for percent, (allowed, faults) in limits.items() if allowed.exceeded_by(faults, images=images)] == []
    assert [percent for percent, (allowed, faults) in limits.items() if not allowed.exceeded_by(faults + 1, images=images)] == []


@pytest.mark.parametrize("none", [MaxFaults(count=0), MaxFaults(share=0.0)])
def test_no_faults_means_none(none: MaxFaults) -> None:
    assert none.exceeded_by(1, images=10**9)
    assert not none.exceeded_by(0, images=10**9)


@pytest.mark.parametrize(
    ("allowed", "shown"), [(MaxFaults(count=3), "3"), (MaxFaults(share=0.01), "1%"), (MaxFaults(share=0.125), "12.5%")]
)
def test_a_limit_is_shown_as_it_is_typed(allowed: MaxFaults, shown: str) -> None:
    assert str(allowed) == shown


def test_listing_is_told_in_images_found_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.report.progress.LOG_INTERVAL_S", 0.01)
    stream, found, deadline = io.StringIO(), [1_000], time.monotonic() + 60
    with listing_progress(lambda: found[0], quiet=False, stream=stream):
        for found[0], shown in ((1_000, "1,000 "), (65_536, "65,536 ")):
            while shown not in stream.getvalue():
                assert time.monotonic() < deadline
                time.sleep(0.01)  # it is another thread that says it
    lines = [line.partition(" images listed")[0] for line in stream.getvalue().splitlines()]
    assert list(dict.fromkeys(lines)) == ["1,000", "65,536"]
    assert len(lines) > 2


def test_listing_is_not_told_in_a_quiet_run() -> None:
    stream = io.StringIO()
    with listing_progress(lambda: 1, quiet=True, stream=stream):
        pass
    assert stream.getvalue() == ""
