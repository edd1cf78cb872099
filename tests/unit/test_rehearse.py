"""What a rehearsal is asked for, without what takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.cli import main
from bootstrap.rehearsal.account import Step
from job.sources.readers import location_of


@pytest.mark.parametrize("typed", ["photos", "./photos/", "photos/../photos"])
def test_a_folder_of_images_is_named_as_the_job_names_what_it_reads_there(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By it the paths of two runs are compared."""
    asked: list[Path] = []

    def rehearse(_environment: str, *, images: Path, keep_folder: bool) -> list[Step]:  # noqa: ARG001  as it is called
        asked.append(images)
        return []

    monkeypatch.setattr("bootstrap.rehearsal.rehearse.rehearse", rehearse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert main(["rehearse", "--images", typed]) == 0
    assert [str(each) for each in asked] == [location_of(typed)] == [str(tmp_path / "photos")]
