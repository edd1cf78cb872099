"""A results folder in S3: whole or not at all, one run at a time, and what a run leaves that was killed at any request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from job import contract
from job.errors import ResultsExist, StorageFailed
from job.report.summary import summarise
from job.sinks import lock as locking
from job.sinks.layout import ORDER, OWNER, STAGING, UNFINISHED, downstream
from job.sinks.lock import Lock
from job.sinks.owner import Owner
from job.sinks.s3 import CARDS, S3Results
from job.storage import S3Path, Status
from tests.s3 import PATIENCE_S, Server

PAIR = (contract.FEATURES, contract.FAULTS)
STAGES = [PAIR, (contract.PCA,), (contract.PROJECTIONS, contract.PROJECTIONS_CSV)]
FILES = 3  # of each dataset, beside its card


def stage(staging: S3Path, name: str, content: str) -> None:
    """A staged dataset whose files and card all hold `content`, as JSON."""
    for number in range(FILES):
        (staging / name / f"part-{number}").write_text(json.dumps(content))
    folder, _, card = CARDS[name].partition("/")
    if folder == name:
        (staging / name / card).write_text(json.dumps(content))


def publish(results: S3Results, *names: str, content: str = "new") -> None:
    with results.staging() as staging:
        for name in names:
            stage(staging, name, content)
        results.publish(staging, names)


def shown(root: S3Path) -> dict[str, list[str]]:
    """What a reader sees: visible names, and the contents of each."""
    found: dict[str, list[str]] = {}
    for file in root.etags():
        name = file.key.removeprefix(root.prefix).partition("/")[0]
        found.setdefault(name, []).append(json.loads(file.read_text()) if name != STAGING else "")
    return found


def holding(content: str, names: Iterable[str]) -> dict[str, list[str]]:
    return {name: [content] * (FILES + CARDS[name].startswith(f"{name}/")) for name in names}


@pytest.fixture
def results(bucket: S3Path) -> S3Results:
    return S3Results(bucket / "results" / "run-1")


# --- publishing -----------------------------------------------------------------------------------------------------


def test_what_is_published_is_there_and_nothing_else(results: S3Results) -> None:
    publish(results, *PAIR)
    assert shown(results.root) == holding("new", PAIR)


@pytest.mark.parametrize("names", STAGES, ids=["featurize", "fit", "project"])
def test_what_was_made_from_the_old_version_goes_with_it(results: S3Results, names: tuple[str, ...]) -> None:
    for each in STAGES:
        publish(results, *each, content="old")
    (results.root / names[0] / "part-of-a-longer-run").write_text('"old"')
    publish(results, *names)
    upstream = ORDER[: ORDER.index(names[0])]
    assert shown(results.root) == holding("old", upstream) | holding("new", names)


def test_what_people_put_into_the_folder_stays_and_so_do_its_neighbours(results: S3Results) -> None:
    (results.root / "notes.txt").write_text('"mine"')
    (results.root.parent / "run-10" / "features" / "part").write_text('"mine"')
    (results.root / "features-old" / "part").write_text('"mine"')
    publish(results, *PAIR)
    publish(results, *PAIR)
    assert shown(results.root) == holding("new", PAIR) | {"notes.txt": ["mine"], "features-old": ["mine"]}
    assert shown(results.root.parent)["run-10"] == ["mine"]


def test_it_is_told_which_results_are_there(results: S3Results) -> None:
    publish(results, *PAIR)
    assert results.existing([contract.FEATURES, contract.PCA]) == [contract.FEATURES]


def test_what_others_left_under_our_names_is_there_even_without_a_card(results: S3Results) -> None:
    (results.root / contract.PCA / contract.MOMENTS / "pooled.npy").write_text('"moments"')
    assert results.existing(ORDER) == []  # moments alone are no components
    (results.root / contract.PCA / "theirs").write_text('"theirs"')
    assert results.existing(ORDER) == [contract.PCA]


def test_a_failed_run_leaves_the_results_of_the_one_before_and_nothing_staged(results: S3Results) -> None:
    publish(results, *PAIR, content="old")

    def fail() -> None:
        with results.staging() as staging:
            stage(staging, contract.PCA, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert shown(results.root) == holding("old", PAIR)


def test_at_no_request_is_a_card_to_be_seen_without_all_of_its_dataset(results: S3Results, s3_server: Server) -> None:
    for names in STAGES:
        publish(results, *names, content="old")
    seen: list[dict[str, list[str]]] = []
    looking = threading.local()

    def look(_method: str, _path: str) -> None:
        if not getattr(looking, "now", False) and not busy.locked():
            with busy:
                seen.append(shown(results.root))

    busy = threading.Lock()
    s3_server.door.refuse = look
    publish(results, *PAIR)
    s3_server.door.open()
    assert len(seen) > 10
    for step in seen:
        contents = {content for name, files in step.items() if name != STAGING for content in files}
        cards = step.get(contract.FEATURES, [])
        if len(cards) == FILES + 1:
            assert len(step[contract.FAULTS]) == FILES
        # Old and new never at once
        assert len(contents) <= 1, step


# --- one run at a time ----------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_and_told_who_and_since_when(results: S3Results) -> None:
    with results.staging() as staging:
        stage(staging, contract.PCA, "half")
        with pytest.raises(ResultsExist) as refused, S3Results(results.root).staging():
            pass
        assert str(refused.value).startswith(f"another run is writing to {results.root}: process ")
        assert "since 20" in str(refused.value)
        assert f"{results.root}/{STAGING}/{OWNER}" in refused.value.hint
        assert len(list((staging / contract.PCA).glob("part-*"))) == FILES
    publish(results, *PAIR)


def test_of_many_runs_at_once_one_gets_the_lock(results: S3Results) -> None:
    got: list[Lock] = []
    refused: list[ResultsExist] = []

    def take() -> None:
        try:
            got.append(Lock(results.hidden / OWNER))
        except ResultsExist as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


SINCE = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = json.dumps({"process": 999_999_999, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "run": "x"})


def test_a_lock_of_another_machine_holds_while_it_gives_signs_of_life(results: S3Results, monkeypatch: pytest.MonkeyPatch) -> None:
    file = results.hidden / OWNER
    file.write_text(OTHER)
    written = iter([SINCE, SINCE, SINCE + timedelta(seconds=20)])
    monkeypatch.setattr(locking, "LOOK_S", 0.0)
    monkeypatch.setattr(S3Path, "status", lambda _path: Status("etag", next(written), 1.0))
    with pytest.raises(ResultsExist, match=r"process 999999999 on elsewhere, since 2026-01-01.* last heard of 1 s ago"), results.staging():
        pass


def test_a_lock_of_another_machine_that_stays_silent_is_taken_over(results: S3Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a run that EMR Serverless tries again, elsewhere, sooner than its lock expires."""
    (results.hidden / OWNER).write_text(OTHER)
    monkeypatch.setattr(locking, "DEAD_S", 2.0)
    monkeypatch.setattr(locking, "LOOK_S", 0.2)
    publish(results, *PAIR)
    assert shown(results.root) == holding("new", PAIR)


def test_a_dead_run_whose_number_another_process_has_is_dead(results: S3Results) -> None:
    """As after a container has started again: this process itself may have the number in the lock."""
    me = asdict(Owner.me())
    (results.hidden / OWNER).write_text(json.dumps({**me, "began": "00000000-1", "since": "now", "run": "x"}))
    with results.staging():
        pass
    (results.hidden / OWNER).write_text(json.dumps({**me, "since": "now", "run": "x"}))
    with pytest.raises(ResultsExist, match=f"process {os.getpid()} on"), results.staging():
        pass


def test_a_process_of_another_container_is_not_looked_for_among_ours() -> None:
    """One that shares this host's name; its number is none of ours, and its lock expires as any other host's."""
    dead = {**asdict(Owner.me()), "process": 999_999_999}
    assert locking._dead(json.dumps(dead), 0.0)
    assert not locking._dead(json.dumps({**dead, "space": "another"}), 0.0)
    assert not locking._dead(json.dumps({name: said for name, said in dead.items() if name != "space"}), 0.0)


def test_what_another_run_has_not_finished_is_not_taken_away_by_one_that_lost_its_lock(results: S3Results) -> None:
    theirs = results.root / UNFINISHED / "run-theirs" / "features" / "part-000000-theirs.parquet"
    theirs.write_text("theirs")
    with results.staging():
        (results.hidden / OWNER).write_text(OTHER)
        results.forget_unfinished()
        assert theirs.is_file()
        (results.hidden / OWNER).unlink()
    with results.staging():
        results.forget_unfinished()
        assert not theirs.is_file()


def test_of_two_that_find_a_dead_run_one_takes_over(results: S3Results, monkeypatch: pytest.MonkeyPatch) -> None:
    file = results.hidden / OWNER
    file.write_text(OTHER)
    monkeypatch.setattr(locking, "DEAD_S", -2.0)
    etag = file.status().etag
    first = Lock(file)
    with pytest.raises(FileExistsError):
        file.write_over("second", etag=etag)
    assert first.is_ours()


def test_a_sign_of_life_keeps_a_lock_young(results: S3Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "BEAT_S", 0.05)
    file = results.hidden / OWNER
    beats = []
    confirm = Lock.confirm

    def counting(lock: Lock) -> None:
        confirm(lock)
        beats.append(lock)
        if len(beats) == 3:
            enough.set()

    enough = threading.Event()
    monkeypatch.setattr(Lock, "confirm", counting)
    with Lock(file).kept():
        assert enough.wait(PATIENCE_S)
        assert file.is_file()
    assert not file.is_file()


@pytest.mark.parametrize("how", ["removed", "taken"])
def test_a_run_that_lost_its_lock_publishes_nothing(results: S3Results, how: str) -> None:
    publish(results, *PAIR, content="old")

    def lose() -> None:
        with results.staging() as staging:
            stage(staging, contract.FEATURES, "new")
            if how == "removed":
                (results.hidden / OWNER).unlink()
            else:
                (results.hidden / OWNER).write_text(OTHER)
                (results.hidden / "run-theirs" / "part").write_text("theirs")
            results.publish(staging, [contract.FEATURES])

    with pytest.raises(StorageFailed, match="no longer this run's"):
        lose()
    visible = {name: files for name, files in shown(results.root).items() if name != STAGING}
    assert visible == holding("old", PAIR)
    left = {file.key.removeprefix(results.hidden.prefix) for file in results.hidden.etags()}
    assert left == ({OWNER, "run-theirs/part"} if how == "taken" else set()), "what is another's stays"


def test_an_answer_that_got_lost_is_not_taken_for_another_run(results: S3Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PUT that is tried again finds what its first attempt wrote."""
    write_new = S3Path.write_new

    def twice(path: S3Path, text: str) -> str:
        write_new(path, text)
        return write_new(path, text)

    monkeypatch.setattr(S3Path, "write_new", twice)
    with results.staging():
        pass


# --- runs that were killed ------------------------------------------------------------------------------------------

PUBLISH = """
import json, sys
from job.sinks.s3 import S3Results
from job.storage import place_of
from tests.unit.test_s3_results import PAIR, stage
results = S3Results(place_of(sys.argv[1]))
with results.staging() as staging:
    for name in PAIR:
        stage(staging, name, "new")
    print("staged", flush=True)
    sys.stdin.readline()
    results.publish(staging, PAIR)
print("published", flush=True)
"""


@contextmanager
def publishing(results: S3Results) -> Iterator[subprocess.Popen[str]]:
    """A process that has staged a dataset, and publishes it when it is told to."""
    words = [sys.executable, "-c", PUBLISH, str(results.root)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "staged\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("requests", [3, 14, 18, 20])
def test_a_run_killed_while_it_publishes_leaves_nothing_that_counts_as_whole(results: S3Results, s3_server: Server, requests: int) -> None:
    for names in STAGES:
        publish(results, *names, content="old")
    with publishing(results) as process:
        number = count(1)

        def kill(_method: str, _path: str) -> None:
            if next(number) == requests:
                process.send_signal(signal.SIGKILL)

        s3_server.door.refuse = kill
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write("go\n")
            process.stdin.flush()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        s3_server.door.wait_until_empty()  # S3 does what it was asked for last, and until then there is no telling what is there
        s3_server.door.open()
    account = summarise(results.root)["featurize"]
    assert account in ("old", "new", None)
    found = {name: files for name, files in shown(results.root).items() if name in PAIR}
    if account:
        assert found == holding(account, PAIR)
    if not account:
        assert results.existing(downstream(contract.FEATURES)) == []  # half of a dataset is no reason to ask for --overwrite
    publish(results, *PAIR, content="next")
    assert {name: files for name, files in shown(results.root).items() if name in PAIR} == holding("next", PAIR)
    assert STAGING not in shown(results.root)


def test_what_a_killed_run_left_does_not_outlive_the_start_of_the_next(results: S3Results) -> None:
    (results.hidden / "publishing").write_text(json.dumps(downstream(contract.PCA)))
    (results.hidden / "run-dead" / "pca" / "model.npz").write_text('"half"')
    (results.root / contract.PCA / "model.npz").write_text('"half"')
    with results.staging() as staging:
        assert set(results.root.etags()) == {results.hidden / OWNER}
        assert staging.parent == results.hidden
    assert results.root.etags() == {}


def test_half_copied_features_stay_for_the_next_run_to_take_up_and_are_not_there_for_others(results: S3Results) -> None:
    (results.hidden / "publishing").write_text(json.dumps(downstream(contract.FEATURES)))
    half = results.root / contract.FEATURES / "part-0"
    half.write_text('"half"')
    for _ in range(2):
        with results.staging():
            assert half.is_file()
        assert results.existing(ORDER) == []
    publish(results, *PAIR)
    assert shown(results.root) == holding("new", PAIR)
