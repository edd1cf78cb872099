"""The generated picture set: what it holds, that it repeats, and that it harms nobody's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bootstrap import pictures
from bootstrap.drawings import KINDS, LONGEST, SHORTEST, draw
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.pictures import BROKEN, MARKER, make_pictures
from job.decode.options import Decoding
from job.decode.pixels import Decoded, decode

COUNT = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "pictures"
    make_pictures(out, count=COUNT)
    return out


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def sound_files(folder: Path, pattern: str = "*/*") -> list[Path]:
    """The files that are whole: a label's first COUNT."""
    return [file for file in sorted(folder.glob(pattern)) if int(file.stem) <= COUNT]


def test_the_count_returned_is_of_all_files_but_the_marker(tmp_path: Path) -> None:
    count = make_pictures(tmp_path / "pictures", count=1)
    assert count == len(KINDS) + len(BROKEN) == len(files_in(tmp_path / "pictures")) - 1


def test_every_label_has_as_many_pictures_that_the_job_decodes(made: Path) -> None:
    decoded = [isinstance(decode(file.read_bytes(), side=32, how=Decoding()), Decoded) for file in sound_files(made)]
    assert decoded == [True] * (COUNT * len(KINDS))


def test_names_have_the_extension_of_what_is_inside(made: Path) -> None:
    for file in sound_files(made):
        with Image.open(file) as image:
            assert {"JPEG": ".jpg", "PNG": ".png"}[str(image.format)] == file.suffix


@pytest.mark.parametrize("label", KINDS)
def test_sides_stay_within_what_is_promised(label: str) -> None:
    for seed in range(8):
        with Image.open(BytesIO(draw(KINDS[label], np.random.default_rng(seed)))) as image:
            assert all(SHORTEST <= side <= LONGEST for side in image.size)


def test_leaves_are_transparent_and_clouds_are_gray(made: Path) -> None:
    modes = {}
    for file in sound_files(made, "*/001.*"):
        with Image.open(file) as image:
            modes[file.parent.name] = image.mode
    assert modes.pop("Leaf") == "RGBA"
    assert modes.pop("Clouds") == "L"
    assert set(modes.values()) == {"RGB"}


def test_a_leaf_covers_some_of_its_picture_and_not_all_of_it(made: Path) -> None:
    for file in sound_files(made, "Leaf/*"):
        with Image.open(file) as image:
            assert 0.05 < np.asarray(image)[..., 3].mean() / 255 < 0.6


def test_pictures_of_a_label_differ_from_one_another(made: Path) -> None:
    digests = {sha256(file.read_bytes()).digest() for file in sound_files(made)}
    assert len(digests) == COUNT * len(KINDS)


def test_broken_files_fail_for_five_different_reasons(made: Path) -> None:
    broken = [file for file in sorted(made.glob("*/*")) if int(file.stem) > COUNT]
    faults = {file.parent.name: decode(file.read_bytes(), side=32, how=Decoding()) for file in broken}
    reasons = {label: fault.reason.value for label, fault in faults.items() if not isinstance(fault, Decoded)}
    assert reasons == {
        "Apple": "truncated",
        "Checks": "too_many_pixels",
        "Clouds": "empty",
        "Stars": "corrupt",
        "Wood": "not_an_image",
    }


def test_the_bomb_is_small_on_disk() -> None:
    assert len(BROKEN["Checks"]()) < 500


def test_another_run_elsewhere_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "again", count=COUNT)
    assert files_in(tmp_path / "again") == files_in(made)


def test_a_larger_set_begins_with_the_smaller_one(made: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "small", count=1)
    for file in (tmp_path / "small").glob("*/001.*"):
        assert file.read_bytes() == (made / file.relative_to(tmp_path / "small")).read_bytes()


def test_a_set_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_pictures(tmp_path / "pictures", count=1)
    monkeypatch.setattr(pictures, "_files", lambda _: pytest.fail("drawn again"))
    assert make_pictures(tmp_path / "pictures", count=1) == first


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert make_pictures(tmp_path, count=1) == len(files_in(tmp_path)) - 1


def test_a_folder_of_other_things_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BootstrapError, match="other things") as caught:
        make_pictures(tmp_path, count=1)
    assert caught.value.hint
    assert files_in(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_set_of_another_count_is_refused(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures", count=1)
    with pytest.raises(BootstrapError, match="--count 1"):
        make_pictures(tmp_path / "pictures", count=2)


def test_a_set_of_another_version_is_refused(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures", count=1)
    (tmp_path / "pictures" / MARKER).write_text(json.dumps({"version": 0, "count": 1}))
    with pytest.raises(BootstrapError, match="another set"):
        make_pictures(tmp_path / "pictures", count=1)


def test_a_set_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures", count=1)
    (tmp_path / "pictures" / "Wood" / "001.jpg").unlink()
    with pytest.raises(BootstrapError, match="another set"):
        make_pictures(tmp_path / "pictures", count=1)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("")
    with pytest.raises(BootstrapError, match="not a folder"):
        make_pictures(tmp_path / "pictures", count=1)


def test_a_run_that_stops_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_after_one(_: int) -> Iterator[tuple[str, bytes]]:
        yield "Apple/001.jpg", b""
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "_files", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        make_pictures(tmp_path / "pictures", count=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, -3])
def test_less_than_one_picture_is_a_usage_error(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError):
        make_pictures(tmp_path / "pictures", count=count)
