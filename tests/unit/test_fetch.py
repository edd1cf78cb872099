"""Results from S3 to a folder, against moto's AWS in this process. No socket is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import botocore.response
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bootstrap import fetch as fetching
from bootstrap.cli import main
from bootstrap.errors import BootstrapError
from bootstrap.fetch import HALF, fetch
from bootstrap.run import Seen, look
from bootstrap.verify import Rows, verify_results
from job.submission import Deployment
from tests.unit.account import BUCKET, HERE, REGION, put, runs, submitted

pytestmark = pytest.mark.usefixtures("no_way_to_aws")

PREFIX = "results/first/"


def write_results(folder: Path, *, features: int = 3, faults: int = 1) -> None:
    """Results as a run leaves them, in two files of features."""
    cards: dict[str, dict[str, Any]] = {
        "features/_featurize.json": {"images": features + faults, "features": features, "faults": faults},
        "pca/model.json": {"rows": features},
        "projections/_project.json": {"rows": features},
        "summary.json": {"version": 1},
    }
    rows = {"features/part-0": features - 1, "features/part-1": 1, "faults/part-0": faults, "projections/part-0": features}
    for name, card in cards.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(card))
    for name, count in rows.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"path": [f"{number}.jpg" for number in range(count)]}), folder / f"{name}.parquet")
    (folder / "projections.csv").mkdir()
    (folder / "projections.csv" / "part-0.csv").write_text("path,label,pc1\r\n")
    np.savez(folder / "pca" / "model.npz", components=np.zeros(1))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """What is in the bucket, on this disk."""
    folder = tmp_path / "local"
    write_results(folder)
    return folder


@pytest.fixture
def seen(deployment: Deployment, local: Path) -> Seen:
    """A run that has succeeded, with its results in the bucket."""
    run = submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    for file in local.rglob("*.*"):
        if file.is_file():
            put(PREFIX + file.relative_to(local).as_posix(), file.read_bytes())
    put(f"{PREFIX}.verger/owner", "a run that was killed")
    return look(run)


def shown(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def breaking_off(monkeypatch: pytest.MonkeyPatch, *, after: int) -> Iterator[int]:
    """Has GetObject fail but for the first few times; counts those that were asked for."""
    answer, asked = botocore.client.BaseClient._make_api_call, iter(range(10**6))

    def call(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "GetObject" and next(asked) >= after:
            raise OSError(28, "No space left on device")
        return answer(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return asked


def test_what_is_fetched_is_what_lies_there_but_for_what_a_run_hides(seen: Seen, local: Path, tmp_path: Path) -> None:
    fetched = fetch(seen, tmp_path / "out")
    assert shown(tmp_path / "out") == shown(local)
    assert (fetched.files, fetched.rows) == (len(shown(local)), Rows(4, 3, 1, 3))
    assert fetched.size_bytes == sum(map(len, shown(local).values()))


@pytest.mark.usefixtures("seen")
def test_the_command_says_what_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "first", str(tmp_path / "out"), *HERE]) == 0
    assert "4 images: 3 rows of features, 1 of faults" in capsys.readouterr().out
    assert main(["fetch", "first", str(tmp_path / "again"), *HERE, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == {"images": 4, "features": 3, "faults": 1, "projections": 3}


def test_a_folder_with_something_in_it_is_refused_and_left_alone(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BootstrapError, match="is not empty"):
        fetch(seen, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / HALF).exists()


def test_a_fetch_that_is_broken_off_shows_nothing_and_goes_on_from_there(
    seen: Seen, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(fetching, "REQUESTS", 1)
    with monkeypatch.context() as patch:
        breaking_off(patch, after=4)
        with pytest.raises(OSError, match="No space"):
            fetch(seen, out)
    assert [path.name for path in out.iterdir()] == [HALF]
    asked = breaking_off(monkeypatch, after=10**6)
    fetch(seen, out)
    assert shown(out) == shown(local)
    assert next(asked) == len(shown(local)) - 4


@pytest.mark.parametrize("moved", [1, 3])
def test_a_fetch_that_is_killed_while_it_publishes_goes_on(
    seen: Seen, local: Path, tmp_path: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename, left = tmp_path / "out", Path.rename, iter(range(moved))

    def killed(self: Path, target: Path) -> Path:
        if target.parent == out and next(left, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(seen, out)
    assert not (out / "summary.json").exists()
    fetch(seen, out)
    assert shown(out) == shown(local)


@pytest.mark.parametrize("mine", ["notes.txt", "notes/a.txt", "empty/", "summary.json", "features/notes.txt"])
@pytest.mark.parametrize("moved", [None, 0, 3], ids=["while it fetched", "before it published", "while it published"])
def test_what_somebody_puts_beside_half_a_fetch_is_refused_and_left_alone(
    seen: Seen, tmp_path: Path, mine: str, moved: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also under a name of the results, whether that has come yet or not."""
    out, rename, left = tmp_path / "out", Path.rename, iter(range(moved or 0))

    def killed(self: Path, target: Path) -> Path:
        if target.parent == out and next(left, None) is None:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        if moved is None:
            breaking_off(patch, after=4)
        else:
            patch.setattr(Path, "rename", killed)
        with pytest.raises(OSError, match="No space"):
            fetch(seen, out)
    if mine.endswith("/"):
        (out / mine).mkdir()
    else:
        (out / mine).parent.mkdir(exist_ok=True)
        (out / mine).write_text("mine")
    before = shown(out)
    with pytest.raises(BootstrapError, match=str(out / mine.partition("/")[0])):
        fetch(seen, out)
    assert shown(out) == before


def interrupted(_folder: Path) -> Rows:
    raise KeyboardInterrupt


def test_a_name_of_the_results_that_is_there_twice_is_refused(
    seen: Seen, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of one's own, which may be another file of the same size."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "verify_results", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(seen, out)
    (out / "summary.json").write_bytes(bytes(len((local / "summary.json").read_bytes())))
    with pytest.raises(BootstrapError, match="is there twice"):
        fetch(seen, out)


def test_half_of_another_fetch_is_refused(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        breaking_off(patch, after=1)
        with pytest.raises(OSError, match="No space"):
            fetch(seen, tmp_path / "out")
    put(f"{PREFIX}summary.json", "replaced meanwhile")
    with pytest.raises(BootstrapError, match="half of another fetch") as refused:
        fetch(seen, tmp_path / "out")
    assert str(tmp_path / "out" / HALF) in refused.value.hint


def test_an_object_that_is_replaced_while_it_is_fetched_is_not_taken_for_the_one_listed(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = fetching._list

    def listed(*arguments: Any, **more: Any) -> Any:
        found = answer(*arguments, **more)
        put(f"{PREFIX}summary.json", "replaced meanwhile")
        return found

    monkeypatch.setattr(fetching, "_list", listed)
    with pytest.raises(BootstrapError, match="PreconditionFailed"):
        fetch(seen, tmp_path / "out")


def test_bytes_that_are_not_the_object_s_are_noticed(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is as long, of an object without a checksum."""
    iter_chunks = botocore.response.StreamingBody.iter_chunks
    monkeypatch.setattr(
        botocore.response.StreamingBody, "iter_chunks", lambda self, size: (bytes(len(block)) for block in iter_chunks(self, size))
    )
    with pytest.raises(BootstrapError, match="not those of the object"):
        fetch(seen, tmp_path / "out")


@pytest.mark.parametrize(
    ("etag", "encryption", "expected"),
    [
        ("0" * 32, "AES256", True),
        ("0" * 32, "", True),
        ("0" * 32, "aws:kms", False),
        ("0" * 32, "aws:kms:dsse", False),
        (f"{'0' * 32}-3", "AES256", False),
    ],
)
def test_an_etag_is_an_md5_of_what_came_in_one_part_and_no_key_encrypts(etag: str, encryption: str, expected: bool) -> None:
    assert fetching._is_md5(etag, {"ServerSideEncryption": encryption} if encryption else {}) is expected


@pytest.mark.parametrize("missing", ["features/_featurize.json", "pca/model.json", "pca/model.npz", "projections/_project.json"])
def test_a_dataset_without_its_card_is_not_whole(seen: Seen, tmp_path: Path, missing: str) -> None:
    boto3.client("s3", REGION).delete_object(Bucket=BUCKET, Key=PREFIX + missing)
    with pytest.raises(BootstrapError, match=Path(missing).name):
        fetch(seen, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [HALF]


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"images": "many", "features": 3, "faults": 1}'])
def test_a_card_that_is_damaged_or_of_another_version_is_named(local: Path, damaged: str) -> None:
    (local / "features" / "_featurize.json").write_text(damaged)
    with pytest.raises(BootstrapError, match=r"_featurize\.json is no card of this version"):
        verify_results(local)


@pytest.mark.parametrize("lost", ["features/part-1.parquet", "faults/part-0.parquet", "projections/part-0.parquet"])
def test_rows_that_the_card_counts_and_no_file_has_are_noticed(local: Path, lost: str) -> None:
    assert verify_results(local) == Rows(4, 3, 1, 3)
    (local / lost).unlink()
    with pytest.raises(BootstrapError, match="by its card"):
        verify_results(local)


def test_features_alone_are_whole_results(local: Path) -> None:
    """What is left of a run that failed above --max-faults."""
    for name in ("pca", "projections", "projections.csv"):
        for file in (local / name).iterdir():
            file.unlink()
        (local / name).rmdir()
    assert verify_results(local) == Rows(4, 3, 1, None)


def test_a_run_that_goes_on_or_left_nothing_has_nothing_to_fetch(deployment: Deployment, tmp_path: Path) -> None:
    run = submitted(deployment)
    with pytest.raises(BootstrapError, match="come at its end"):
        fetch(look(run), tmp_path / "out")
    runs(deployment)[-1].state = "FAILED"
    with pytest.raises(BootstrapError, match="left nothing"):
        fetch(look(run), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["features/../../../evil", "{0}/evil", "features/{0}/evil", "features/./part-0.parquet", "features//part-0.parquet"]
)
def test_an_object_writes_to_no_place_but_its_own_in_the_folder(seen: Seen, tmp_path: Path, name: str) -> None:
    """Nor over another object's."""
    put(PREFIX + name.format(tmp_path), "x")
    with pytest.raises(BootstrapError, match="no file of a run's results"):
        fetch(seen, tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_mark_of_a_folder_is_no_file(seen: Seen, local: Path, tmp_path: Path) -> None:
    for mark in ("", "features/"):
        put(PREFIX + mark, "")
    fetch(seen, tmp_path / "out")
    assert shown(tmp_path / "out") == shown(local)
