"""The results folder: whole or not at all, for a reader at any moment and after any end of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO
from unittest import mock

import pytest

from job import contract
from job.errors import ResultsExist
from job.sinks import layout, owner
from job.sinks.layout import ORDER, OWNER, STAGING, Results
from job.sinks.owner import Owner
from tests.conftest import lacking

FILES = 3  # of each dataset written here
PAIR = (contract.FEATURES, contract.FAULTS)


class RunFailed(Exception):
    """What a run may raise."""


def write(staging: Path, name: str, content: str) -> None:
    """A staged dataset of FILES files that all hold `content`; of the summary, which is a file, one."""
    if name == contract.SUMMARY:
        (staging / name).write_text(content)
        return
    (staging / name).mkdir()
    for number in range(FILES):
        (staging / name / f"part-{number}").write_text(content)


def publish(results: Results, *names: str, content: str = "new") -> None:
    with results.staging() as staging:
        for name in names:
            write(staging, name, content)
        results.publish(staging, names)


def shown(root: Path) -> dict[str, set[str]]:
    """What a reader sees: visible names, and the contents of each."""
    files = [file for file in root.rglob("*") if file.is_file()]
    found: dict[str, set[str]] = {}
    for file in files:
        found.setdefault(file.relative_to(root).parts[0], set()).add(file.read_text())
    return found


def holding(content: str, names: Iterable[str]) -> dict[str, set[str]]:
    return {name: {content} for name in names}


def fail_while_staging(results: Results, error: type[BaseException] = RunFailed, *, after: tuple[str, ...] = ()) -> None:
    """A run that publishes `after`, stages half of something and ends with `error`."""
    with results.staging() as staging:
        for name in after:
            write(staging, name, "new")
        if after:
            results.publish(staging, after)
        write(staging, contract.PCA, "half")
        raise error


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


# --- publishing -----------------------------------------------------------------------------------------------------


def test_what_is_published_is_there_and_nothing_else(results: Results) -> None:
    publish(results, *PAIR)
    assert shown(results.root) == holding("new", PAIR)
    assert len(list((results.root / contract.FEATURES).iterdir())) == FILES


def test_publishing_replaces_the_old_version(results: Results) -> None:
    publish(results, *PAIR, content="old")
    publish(results, *PAIR, content="new")
    assert shown(results.root) == holding("new", PAIR)


def test_a_replaced_dataset_keeps_no_file_of_the_old_one(results: Results) -> None:
    publish(results, *PAIR, content="old")
    (results.root / contract.FEATURES / "part-of-a-longer-run").write_text("old")
    publish(results, *PAIR, content="new")
    assert shown(results.root)[contract.FEATURES] == {"new"}


STAGES = [PAIR, (contract.PCA,), (contract.PROJECTIONS, contract.PROJECTIONS_CSV)]


@pytest.mark.parametrize("names", STAGES, ids=["featurize", "fit", "project"])
def test_what_was_made_from_the_old_version_goes_with_it(results: Results, names: tuple[str, ...]) -> None:
    for stage in [*STAGES, (contract.SUMMARY,)]:
        publish(results, *stage, content="old")
    publish(results, *names, content="new")
    upstream = ORDER[: ORDER.index(names[0])]
    assert shown(results.root) == holding("old", upstream) | holding("new", names)


def test_what_people_put_into_the_folder_stays(results: Results) -> None:
    publish(results, *PAIR)
    (results.root / "notes.txt").write_text("mine")
    publish(results, *PAIR)
    assert shown(results.root)["notes.txt"] == {"mine"}


def test_a_stage_may_publish_what_an_earlier_one_of_the_same_run_staged_beside_it(results: Results) -> None:
    with results.staging() as staging:
        for names in STAGES:
            for name in names:
                write(staging, name, "new")
            results.publish(staging, names)
    assert set(shown(results.root)) == set(ORDER) - {contract.SUMMARY}


@pytest.mark.parametrize("before", [None, "old"])
def test_a_small_file_is_replaced_whole(results: Results, before: str | None) -> None:
    for text in filter(None, (before, "new")):
        with results.staging() as staging:
            results.write_text(contract.SUMMARY, text, staging=staging)
    assert shown(results.root) == {contract.SUMMARY: {"new"}}


# --- what is there -------------------------------------------------------------------------------------------------------


def test_it_is_told_which_results_are_there(results: Results) -> None:
    assert results.existing(ORDER) == []
    assert not results.root.exists()
    publish(results, *PAIR)
    assert results.existing([contract.FEATURES, contract.PCA]) == [contract.FEATURES]


def test_moments_alone_are_no_components(results: Results) -> None:
    (results.root / contract.PCA / contract.MOMENTS).mkdir(parents=True)
    (results.root / contract.PCA / contract.MOMENTS / "pooled.npy").write_text("moments")
    assert results.existing(ORDER) == []
    (results.root / contract.PCA / "theirs").write_text("theirs")
    assert results.existing(ORDER) == [contract.PCA]


# --- staging --------------------------------------------------------------------------------------------------------


def test_staging_is_inside_the_results_folder_and_hidden(results: Results) -> None:
    with results.staging() as staging:
        assert staging.parent == results.root  # another place might be another disk, where renaming is copying
        assert staging.name.startswith(".")


def test_a_second_run_at_once_is_refused_and_the_first_goes_on(results: Results) -> None:
    with results.staging() as staging:
        (staging / "half").write_text("half")
        with pytest.raises(ResultsExist, match=f"another run is writing .* process {os.getpid()} on"), results.staging():
            pass
        assert [file.name for file in results.root.iterdir()] == [STAGING]
        assert (staging / "half").read_text() == "half"


def test_a_staging_folder_of_another_machine_is_not_taken_for_a_dead_one(results: Results) -> None:
    (results.root / STAGING).mkdir(parents=True)
    (results.root / STAGING / "owner").write_text("999999999 1-1 elsewhere\n")
    with pytest.raises(ResultsExist, match="999999999 on elsewhere"), results.staging():
        pass


def test_half_files_of_dead_tasks_are_not_published(results: Results) -> None:
    with results.staging() as staging:
        write(staging, contract.PCA, "whole")
        (staging / contract.PCA / "_part-000001.parquet-1234").write_text("half")
        (staging / contract.PCA / "_card.json").write_text("whole")
        results.publish(staging, [contract.PCA])
    assert shown(results.root) == holding("whole", [contract.PCA])


def test_nothing_staged_is_left_after_a_run(results: Results) -> None:
    publish(results, *PAIR)
    assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


@pytest.mark.parametrize("error", [RunFailed, KeyboardInterrupt, SystemExit])
def test_nothing_staged_is_left_after_a_run_that_failed(results: Results, error: type[BaseException]) -> None:
    results.root.mkdir()
    with pytest.raises(error):
        fail_while_staging(results, error)
    assert list(results.root.iterdir()) == []


def test_a_results_folder_that_a_failed_run_made_goes_with_it(results: Results) -> None:
    with pytest.raises(RunFailed):
        fail_while_staging(results)
    assert not results.root.exists()


def test_a_results_folder_that_was_there_before_a_failed_run_stays(results: Results) -> None:
    results.root.mkdir()
    with pytest.raises(RunFailed):
        fail_while_staging(results)
    assert results.root.is_dir()


def test_what_a_run_published_before_it_failed_stays(results: Results) -> None:
    with pytest.raises(RunFailed):
        fail_while_staging(results, after=PAIR)
    assert shown(results.root) == holding("new", PAIR)


def test_a_failed_run_leaves_the_results_of_the_one_before(results: Results) -> None:
    publish(results, *PAIR, content="old")
    with pytest.raises(RunFailed):
        fail_while_staging(results)
    assert shown(results.root) == holding("old", PAIR)


# --- runs that were killed ------------------------------------------------------------------------------------------

STAGE_AND_WAIT = """
import sys, time
from pathlib import Path
from job.sinks.layout import Results
with Results(Path(sys.argv[1])).staging() as staging:
    (staging / "half").write_text("half")
    print("staged", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_run(results: Results) -> Iterator[subprocess.Popen[str]]:
    """A process that has staged something and goes on; killed at the end."""
    with subprocess.Popen([sys.executable, "-c", STAGE_AND_WAIT, str(results.root)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "staged\n"
            yield process
        finally:
            process.kill()


def test_what_a_killed_run_left_is_swept_by_the_next(results: Results) -> None:
    with another_run(results) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(results.root.iterdir())) == 1  # what there is to sweep
    publish(results, *PAIR)
    assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


def test_a_killed_run_is_dead_even_where_nobody_has_asked_for_its_end(results: Results) -> None:
    """As in a container whose first process does not."""
    with another_run(results) as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        publish(results, *PAIR)
    assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


def test_a_dead_run_whose_number_another_process_has_is_dead(results: Results) -> None:
    """As after a container has started again: this process itself may have the number in the lock."""
    staging = results.root / STAGING
    for number in (os.getpid(), os.getppid()):
        staging.mkdir(parents=True, exist_ok=True)
        (staging / "owner").write_text(f"{number} 00000000-1 {Owner.me().host}\n")
        publish(results, *PAIR)
        assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


def test_a_run_that_its_system_hides_is_not_taken_for_dead(results: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with results.staging():
        (tmp_path / "self").mkdir()
        monkeypatch.setattr(owner, "PROC", tmp_path)
        with pytest.raises(ResultsExist, match="another run"), results.staging():
            pass


def test_a_run_whose_number_is_none_of_ours_is_not_taken_for_dead_while_it_runs(results: Results) -> None:
    """As of another container that shares this host's name, and sees other numbers."""
    with another_run(results) as process:
        with (results.root / STAGING / OWNER).open("r+") as sign:
            sign.write(f"999999999 00000000-1 {Owner.me().host}\n")
            sign.truncate()
        with pytest.raises(ResultsExist, match="process 999999999 on"), results.staging():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    publish(results, *PAIR)
    assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


def test_a_lock_goes_where_a_file_that_is_open_cannot_as_on_nfs(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets another name, and stays in its folder until it is closed."""
    unlink, held = os.unlink, set[int]()

    def unlink_there(name: str, *, dir_fd: int | None = None) -> None:
        if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino in held:
            os.rename(name, ".nfs1", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            unlink(name, dir_fd=dir_fd)

    @contextmanager
    def signed_there(file: Path) -> Iterator[None]:
        try:
            with owner.signed(file):
                held.add(inode := file.stat().st_ino)
                yield
        finally:
            held.remove(inode)
            for left in results.root.glob("*/.nfs1"):
                if left.stat().st_ino == inode:
                    unlink(left)

    monkeypatch.setattr(os, "unlink", unlink_there)
    monkeypatch.setattr(layout, "signed", signed_there)
    with results.staging():
        with pytest.raises(ResultsExist, match="another run"), results.staging():
            pass
        assert [entry.name for entry in results.root.iterdir()] == [STAGING]
    assert not results.root.exists()


def test_who_has_it_is_the_last_that_goes(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a run leaves that is killed while it cleans up, the next run takes away."""
    with ExitStack() as run:
        staging = run.enter_context(results.staging())
        (staging / "features").mkdir()
        (staging / "listing.arrow").touch()
        monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_how: sys.exit())
        with pytest.raises(SystemExit):
            run.close()
    assert (staging / OWNER).is_file()


def test_a_folder_of_a_run_that_was_killed_before_it_had_the_results_goes_and_one_that_is_being_made_stays(results: Results) -> None:
    with another_run(results) as process:
        (theirs,) = results.root.iterdir()
        theirs.rename(orphan := results.root / f"{STAGING}-01234567")
        publish(results, *PAIR)
        assert (orphan / "half").read_text() == "half", "its owner runs"
        process.send_signal(signal.SIGKILL)
        process.wait()
    publish(results, *PAIR)
    assert sorted(file.name for file in results.root.iterdir()) == sorted(PAIR)


def test_a_lock_that_says_nothing_is_nobody_s_to_break(results: Results) -> None:
    (results.root / STAGING).mkdir(parents=True)
    (results.root / STAGING / "owner").write_text("")
    with pytest.raises(ResultsExist, match=r"another run is writing .*: an unknown process"), results.staging():
        pass


def test_a_lock_is_held_before_it_can_be_read(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads it and finds nobody that holds it takes its run for dead."""
    flock, read = fcntl.flock, list[str]()

    def flock_late(file: IO[str], operation: int) -> None:
        read.extend(sign.read_text() for sign in results.root.glob(f"*/{OWNER}"))
        flock(file, operation)

    monkeypatch.setattr(owner.fcntl, "flock", flock_late)
    with results.staging() as staging:
        assert read == [""]
        assert owner.is_held(staging / OWNER)


def test_a_machine_is_told_by_its_id_and_by_its_boot_where_it_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's image often has none."""
    named, booted = tmp_path / "machine-id", tmp_path / "boot_id"
    monkeypatch.setattr(owner, "MACHINE", named)
    monkeypatch.setattr(owner, "BOOT", booted)

    def space(machine: str, boot: str) -> str:
        named.write_text(machine)
        booted.write_text(boot)
        return owner.space()

    assert space("quince", "first") == space("quince", "second") != space("medlar", "second")
    assert space("", "first") != space("", "second")
    named.unlink()
    assert owner.space() == space("", "second"), "one that is not there and one that is empty"
    assert "quince" not in space("quince", "first"), "machine-id(5): it is not to be shown"


@pytest.mark.parametrize("tell", [owner.began, owner._by_ps])
def test_a_process_began_at_one_time_and_another_at_another(tell: Callable[[int], str | None]) -> None:
    if tell is owner._by_ps and not Path(owner.PS[0]).exists():
        lacking("no ps here")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = tell(process.pid)
        assert began
        assert " " not in began
        assert tell(process.pid) == began != tell(os.getppid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert tell(process.pid) is None
    assert tell(process.pid) is None


def test_what_a_running_run_has_staged_is_left_to_it(results: Results) -> None:
    with another_run(results):
        (theirs,) = results.root.iterdir()
        with pytest.raises(ResultsExist, match="another run"):
            publish(results, *PAIR)
        assert (theirs / "half").read_text() == "half"


def test_hidden_folders_of_others_are_not_swept(results: Results) -> None:
    (results.root / ".git").mkdir(parents=True)
    publish(results, *PAIR)
    assert (results.root / ".git").is_dir()


# --- a reader meanwhile ---------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Looks at the published names as fast as it can, until it is stopped.

    A look counts where the names mean the same folders before and after it; otherwise they were replaced meanwhile, and
    what was read of the old ones, by then nameless, is nobody's. What counts is whole.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.stopped = threading.Event()
        self.looks = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            with suppress(FileNotFoundError), ExitStack() as opened:
                folders = []
                for name in PAIR:
                    folders.append(os.open(self.root / name, os.O_RDONLY | os.O_DIRECTORY))
                    opened.callback(os.close, folders[-1])
                seen = [self._contents(folder) for folder in folders]
                # While a folder is held open no other gets its number.
                if all(map(self._is, folders, PAIR)):
                    self.looks += 1
                    self.wrong += [f"{name}: {files}" for name, files in zip(PAIR, seen, strict=True) if len(files) != FILES]
                    if len({content for files in seen for content in files}) != 1:
                        self.wrong.append(f"of several runs: {seen}")

    def _is(self, folder: int, name: str) -> bool:
        return os.path.samestat(os.fstat(folder), os.stat(self.root / name))

    def _contents(self, folder: int) -> list[str]:
        found: list[str] = []
        for file in os.listdir(folder):
            try:
                handle = os.open(file, os.O_RDONLY, dir_fd=folder)
            except FileNotFoundError:
                continue
            with open(handle) as text:
                found.append(text.read())
        return found


def test_at_no_step_of_publishing_are_two_runs_to_be_seen(results: Results) -> None:
    for names in STAGES:
        publish(results, *names, content="old")
    steps = []
    rename = Path.rename

    def renaming(self: Path, target: Path) -> Path:
        renamed = rename(self, target)
        steps.append({name: contents for name, contents in shown(results.root).items() if not name.startswith(".")})
        return renamed

    with mock.patch.object(Path, "rename", renaming):
        publish(results, *PAIR, content="new")
    assert len(steps) > 2
    for step in steps:
        assert len(set().union(*step.values())) <= 1, step


def test_a_reader_never_sees_half_a_dataset_or_parts_of_two_runs(results: Results) -> None:
    reader = Reader(results.root)
    reader.start()
    try:
        for run in range(200):
            publish(results, *PAIR, content=f"run {run}")
    finally:
        reader.stopped.set()
        reader.join()
    assert reader.wrong == []
    assert reader.looks > 0  # it did look while there was something to see
