"""Environments and workers as values: what may be said in TOML, and what follows from it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.environments import FILE, Environment, load_environments, select_environments
from infra.errors import BadEnvironment
from infra.workers import DISK_GB, MEMORY_GB, Worker
from job.releases import DEFAULT_RELEASE, RELEASES

WORKERS = st.sampled_from([(vcpus, memory) for vcpus, offered in MEMORY_GB.items() for memory in offered])


def toml(tmp_path: Path, text: str) -> dict[str, Environment]:
    file = tmp_path / "environments.toml"
    file.write_text(text)
    return load_environments(file)


def test_importing_environments_starts_no_node():
    """These tests run with no Node, so the modules that they import must not need it."""
    script = "import sys, infra.environments, tests.infra.suppressions; sys.exit('aws_cdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=FILE.parents[1], check=False).returncode == 0


def test_the_file_has_environments():
    assert load_environments()


def test_what_the_file_suggests_can_be_uncommented(tmp_path):
    for suggested in re.findall(r"(?m)^# *(\w+ *=.*)$", FILE.read_text()):
        assert toml(tmp_path, f"[one]\n{suggested}\n")["one"] != Environment("one")


def test_an_empty_table_is_the_default_environment(tmp_path):
    assert toml(tmp_path, "[one]") == {"one": Environment(name="one")}


def test_the_default_is_the_long_term_release_protected_and_within_a_new_accounts_quota():
    default = Environment(name="one")
    assert (default.release, default.disposable, default.termination_protection) == (DEFAULT_RELEASE, False, True)
    assert default.run_vcpus <= default.max_vcpus == default.quota_vcpus == 16


def test_every_field_can_be_said_in_toml(tmp_path):
    said = {
        "disposable": "true",
        "termination_protection": "false",
        "release": '"emr-7.14.0"',
        "architecture": '"x86_64"',
        "driver": "{ vcpus = 1, memory_gb = 4 }",
        "executor": "{ vcpus = 2, memory_gb = 8, disk_gb = 50 }",
        "max_executors": "5",
        "max_vcpus": "20",
        "quota_vcpus": "40",
        "idle_minutes": "9",
        "timeout_minutes": "60",
        "retention_days": "14",
        "artifacts_days": "30",
        "customer_managed_key": "true",
        "alert_email": '"team@example.org"',
        "monthly_budget_usd": "10",
        "images_bucket_arn": '"arn:aws-cn:s3:::photos"',
        "subnets": '["subnet-01234567"]',
        "security_groups": '["sg-01234567"]',
        "cost_centre": '"CC 42"',
    }
    assert set(said) == {each.name for each in fields(Environment)} - {"name"}
    one = toml(tmp_path, "\n".join(["[one]", *(f"{key} = {value}" for key, value in said.items())]))["one"]
    default = Environment(name="one")
    assert not [name for name in said if getattr(one, name) == getattr(default, name)]
    assert (one.executor, one.subnets, one.release) == (Worker(2, 8, 50), ("subnet-01234567",), RELEASES[1])


def test_a_name_that_is_chosen_twice_counts_once():
    known = {name: Environment(name) for name in ("dev", "prod", "test")}
    assert [each.name for each in select_environments("prod,dev,prod", known)] == ["prod", "dev"]
    assert [each.name for each in select_environments("all", known)] == list(known)


@given(driver=WORKERS, executor=WORKERS, count=st.integers(1, 50), spare=st.integers(0, 100))
def test_the_maximum_has_memory_and_disk_for_every_run_that_its_vcpus_allow(driver, executor, count, spare):
    vcpus = driver[0] + count * executor[0] + spare
    one = Environment(
        name="one", driver=Worker(*driver), executor=Worker(*executor), max_executors=count, max_vcpus=vcpus, quota_vcpus=vcpus
    )
    assert one.run_vcpus <= one.max_vcpus
    assert one.driver.memory_gb + count * one.executor.memory_gb <= one.max_memory_gb
    assert one.driver.disk_gb + count * one.executor.disk_gb <= one.max_disk_gb


@given(vcpus=st.integers(0, 20), memory=st.integers(0, 130), disk=st.integers(0, 300))
def test_a_worker_is_of_a_size_that_is_offered_or_it_is_refused(vcpus, memory, disk):
    """The User Guide's table again: least and most memory, and the step between, by vCPUs."""
    least, most, step = {1: (2, 8, 1), 2: (4, 16, 1), 4: (8, 30, 1), 8: (16, 60, 4), 16: (32, 120, 8)}.get(vcpus, (1, 0, 1))
    offered = least <= memory <= most and (memory - least) % step == 0 and 20 <= disk <= 200
    if offered:
        assert 1 <= Worker(vcpus, memory, disk).heap_gb < memory
    else:
        with pytest.raises(BadEnvironment):
            Worker(vcpus, memory, disk)


def test_disks_start_at_what_is_not_billed():
    assert Worker(1, 2).disk_gb == DISK_GB.start == 20


@pytest.mark.parametrize("name", ["", "Dev", "1st", "a-b", "averylongname", "dev\n", "ümlaut"])
def test_a_name_is_a_short_word(name):
    with pytest.raises(BadEnvironment, match="name = "):
        Environment(name=name)


@given(name=st.text(), value=st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.lists(st.text())))
def test_a_message_is_one_line_whatever_was_written(name, value):
    with pytest.raises(BadEnvironment) as refused:
        replace(Environment(name="one"), alert_email=f"{name}@{value}@", cost_centre="")
    assert "\n" not in str(refused.value)
    assert refused.value.hint.startswith("allowed: ")


def test_a_comment_in_the_file_points_to_the_fields():
    assert "infra/environments.py" in FILE.read_text()


@pytest.mark.parametrize(("max_vcpus", "runs"), [(16, 1), (27, 1), (28, 2), (140, 10), (13_999, 999), (14_000, 1000), (14_014, 1000)])
def test_as_many_runs_at_once_as_have_room_with_all_their_executors(max_vcpus, runs):
    """One of them takes 2 + 3 x 4 vCPUs; EMR Serverless takes up to 1,000."""
    assert Environment("dev", max_vcpus=max_vcpus, quota_vcpus=20_000).concurrent_runs == runs
