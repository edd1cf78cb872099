"""The table of releases: what infra, the environment archive and the tests' Sparks rely on."""

from pathlib import Path

import pytest

from job.releases import DEFAULT_RELEASE, PYTHON, RELEASES, release_of

LOCKS = Path(__file__).parents[2] / "requirements"


def test_every_release_has_the_python_that_the_job_runs_on():
    assert all(PYTHON in release.pythons for release in RELEASES)


def test_a_label_names_one_release():
    assert [release_of(release.label) for release in RELEASES] == list(RELEASES)


def test_an_unknown_label_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'emr-6\.6\.0' is none of emr-spark-8\.1\.0, emr-7\.14\.0"):
        release_of("emr-6.6.0")


@pytest.mark.parametrize(("release", "lock"), [(DEFAULT_RELEASE, "dev.txt"), (release_of("emr-7.14.0"), "spark35.txt")])
def test_the_tests_run_on_the_spark_of_each_release(release, lock):
    assert f"pyspark=={release.spark} " in (LOCKS / lock).read_text()
