"""What runs were billed for, and the list of them, against moto's AWS in this process. No socket is opened."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.client
import pytest

from bootstrap.cli import main
from bootstrap.costs import Fleet, Worker
from bootstrap.errors import BootstrapError
from bootstrap.fleet import fleet_of
from bootstrap.prices import PRICES
from bootstrap.run import Run, find_run
from job.submission import Deployment
from tests.unit.account import HERE, SPARK, put, retried, runs, saying, submitted

pytestmark = pytest.mark.usefixtures("no_way_to_aws")

BILLED = {"vCPUHour": 2.0, "memoryGBHour": 4.0, "storageGBHour": 10.0}


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_cost_of_a_run_is_what_it_was_billed_for_at_the_table_s_prices(
    deployment: Deployment, architecture: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"  # it is billed for all the same
    saying(monkeypatch, "jobRun", billedResourceUtilization=BILLED)
    saying(monkeypatch, "application", architecture=architecture.upper())
    assert main(["cost", run.id, *HERE, "--json"]) == 0
    bill = json.loads(capsys.readouterr().out)
    prices = PRICES["us-east-1"]
    price = prices.compute[architecture]
    assert bill["usd"] == pytest.approx(2 * price.vcpu_hour + 4 * price.gb_hour + 10 * prices.disk_gb_hour)
    assert bill["prices"] == prices.source
    assert main(["cost", "first", *HERE]) == 0
    table = capsys.readouterr().out
    assert f"${bill['usd']:,.4f}" in table
    assert prices.source in table


@pytest.mark.parametrize(("state", "said"), [("RUNNING", "comes when it has ended"), ("SUCCESS", "comes some minutes after its end")])
def test_what_is_not_billed_yet_is_said_to_be_so(
    deployment: Deployment, state: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = state
    saying(monkeypatch, "jobRun", billedResourceUtilization={"vCPUHour": 0.0})
    assert main(["cost", run.id, *HERE]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED"])
def test_a_run_that_had_no_workers_costs_nothing(deployment: Deployment, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no bill to wait for."""
    run = submitted(deployment)
    runs(deployment)[-1].state = state
    assert main(["cost", run.id, *HERE, "--json"]) == main(["cost", run.id, *HERE]) == 0
    said = capsys.readouterr()
    assert '"usd": 0' in said.out
    assert "$0.0000" in said.out
    assert said.err == f"note: run {run.id} is {state} and had no workers: nothing is billed\n" * 2


def test_a_run_that_had_workers_in_an_earlier_attempt_is_waited_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "CANCELLED"
    retried(monkeypatch, "lost")
    assert main(["cost", run.id, *HERE]) == 1
    assert "comes some minutes after its end" in capsys.readouterr().err


def test_the_cost_of_a_run_that_was_tried_again_says_what_it_rests_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    retried(monkeypatch, "lost")
    saying(monkeypatch, "jobRun", billedResourceUtilization=BILLED)
    assert main(["cost", "first", *HERE, "--json"]) == main(["cost", "first", *HERE]) == 0
    said = capsys.readouterr()
    assert '"attempt": 2' in said.out
    assert "note: of 2 attempts" in said.err


def test_a_region_without_prices_is_named(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    saying(monkeypatch, "jobRun", billedResourceUtilization=BILLED)
    monkeypatch.delitem(PRICES, "us-east-1")
    assert main(["cost", run.id, *HERE]) == 1
    assert "no prices of us-east-1" in capsys.readouterr().err
    assert main(["runs", *HERE]) == 0, "the rest of it is known"
    assert run.id in capsys.readouterr().out


def test_a_fleet_is_what_the_properties_ask_for() -> None:
    assert fleet_of(SPARK, architecture="arm64") == Fleet(Worker(2, 8, 20), Worker(4, 8, 20), 3, "arm64")


@pytest.mark.parametrize(("change", "said"), [("spark.driver.cores", "does not set"), ("spark.executor.memory", "is no size")])
def test_properties_that_do_not_say_what_is_billed_are_named(change: str, said: str) -> None:
    properties = {name: value for name, value in SPARK.items() if name != change} | ({change: "much"} if said == "is no size" else {})
    with pytest.raises(BootstrapError, match=said):
        fleet_of(properties, architecture="arm64")


# --- runs -----------------------------------------------------------------------------------------------------------


def test_the_list_of_runs_has_the_latest_first_and_what_each_of_them_did(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    first, second = submitted(deployment, "first"), submitted(deployment, "second")
    for run, minutes, state in zip(runs(deployment), (20, 10), ("FAILED", "SUCCESS"), strict=True):
        run.created_at, run.state = (now - timedelta(minutes=minutes)).replace(tzinfo=None), state
    summary = {"images": 12_345, "faults": 5, "finished": now.isoformat(), "seconds": {"featurize": 100.0}}
    put("results/second/summary.json", {"featurize": summary})
    ended = {"startedAt": now - timedelta(seconds=125), "endedAt": now, "billedResourceUtilization": BILLED}
    saying(monkeypatch, "jobRun", **ended)
    assert main(["runs", *HERE, "--json"]) == 0
    latest, other = json.loads(capsys.readouterr().out)
    assert (latest["run"], latest["images"], latest["faults"], latest["seconds"], latest["state"]) == (second.id, 12_345, 5, 125, "SUCCESS")
    assert (other["run"], other["images"], other["state"]) == (first.id, None, "FAILED")
    assert latest["usd"] > 0
    assert main(["runs", *HERE]) == 0
    heading, line, _ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["run", "name", "submitted", "images", "faults", "took", "cost", "attempts", "state"]
    assert line.split()[4:] == ["12,345", "5", "2:05", f"${latest['usd']:.4f}", "1", "SUCCESS"]
    assert main(["runs", *HERE, "--limit", "1", "--json"]) == 0
    assert [each["run"] for each in json.loads(capsys.readouterr().out)] == [second.id]


def test_results_that_a_later_run_of_the_name_has_replaced_are_not_an_earlier_one_s(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(deployment, "first")
    runs(deployment)[-1].state = "SUCCESS"
    later = datetime.now(UTC)
    saying(monkeypatch, "jobRun", endedAt=later - timedelta(minutes=5))
    put("results/first/summary.json", {"featurize": {"images": 1, "faults": 0, "finished": later.isoformat(), "seconds": {"featurize": 1}}})
    assert main(["runs", *HERE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["images"] is None


@pytest.mark.parametrize("summary", ["no JSON", {}, {"featurize": None}, {"featurize": {"images": 1}}])
def test_a_summary_of_another_make_costs_the_list_nothing(
    deployment: Deployment, summary: str | dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment, "first")
    runs(deployment)[-1].state = "SUCCESS"
    put("results/first/summary.json", summary)
    assert main(["runs", *HERE]) == 0
    assert run.id in capsys.readouterr().out


def test_a_name_means_its_latest_run_and_an_id_that_very_run(deployment: Deployment) -> None:
    earlier, later = submitted(deployment, "first"), submitted(deployment, "first")
    runs(deployment)[0].created_at -= timedelta(hours=1)
    assert find_run(deployment, "first").id == later.id
    assert find_run(deployment, earlier.id) == earlier


def test_all_pages_of_the_list_are_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has one page only."""
    when = datetime(2026, 1, 1, tzinfo=UTC)

    def page(_client: Any, operation: str, parameters: Any) -> Any:
        assert operation == "ListJobRuns"
        number = int(parameters.get("nextToken", 0))
        following = {"nextToken": str(number + 1)} if number < 2 else {}
        return {"jobRuns": [{"id": f"{number}" * 16, "name": f"run-{number}", "createdAt": when + timedelta(days=number)}]} | following

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", page)
    assert find_run(deployment, "run-2") == Run(deployment, "2" * 16)


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1001", "1.5"])
def test_a_limit_that_is_none_is_a_wrong_command_line(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", *HERE, f"--limit={limit}"]) == 2
    assert "--limit" in capsys.readouterr().err


def test_a_name_may_look_like_an_id(deployment: Deployment) -> None:
    run = submitted(deployment, "nightly202610071")
    assert find_run(deployment, "nightly202610071") == run
