"""The workflows: what runs there runs on a laptop, with pinned actions and no more rights than it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()
COMMENT = 'gh pr comment "$NUMBER" --edit-last --create-if-none --body-file diff.md'  # the one command that is no make target
CREDENTIALS = "aws-actions/configure-aws-credentials@"


def jobs() -> Iterator[Any]:
    """Each job of each workflow, named file:job."""
    for file in WORKFLOWS:
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            yield pytest.param(job, id=f"{file.stem}:{name}")


def actions(job: Any) -> list[str]:
    return [step["uses"] for step in job["steps"] if "uses" in step]


def commands(job: Any) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A make of its own, which installs nothing."""
    words = ("make", "-o", ".venv/.ready", "-o", "node_modules/.ready", *words)
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)


each_job = pytest.mark.parametrize("job", list(jobs()))
each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)


def test_there_are_workflows_to_check_deploy_collect_garbage_and_run() -> None:
    assert {file.stem for file in WORKFLOWS} == {"check", "deploy", "gc", "run"}


@each_job
def test_what_runs_is_a_make_target_that_make_help_explains(job: Any) -> None:
    explained = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))
    for command in commands(job):
        words = command.split()
        assert command == COMMENT or (words[0] == "make" and words[1] in explained), command
        assert command == COMMENT or all(re.fullmatch(r"[A-Z]+=[A-Za-z^]+", word) for word in words[2:]), command


@each_job
def test_no_command_holds_an_expression(job: Any) -> None:
    """What a person may type reaches a shell as a variable, never as text of the command."""
    assert not [command for command in commands(job) if "${{" in command]


@each_workflow
def test_each_action_is_pinned_by_digest_with_its_version_beside_it(file: Path) -> None:
    used = re.findall(r"uses: .*", file.read_text())
    assert used
    assert not [line for line in used if not re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]


def test_an_action_has_one_digest_everywhere() -> None:
    pins = set(re.findall(r"uses: (\S+)@(\S+)", "\n".join(file.read_text() for file in WORKFLOWS)))
    assert len(pins) == len({action for action, _ in pins})


@each_workflow
def test_a_workflow_gives_nothing_and_its_jobs_take_what_they_name(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())


@each_job
def test_a_job_has_a_time_limit_and_keeps_no_token_in_its_checkout(job: Any) -> None:
    assert 0 < job["timeout-minutes"] <= 360
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@each_job
def test_a_job_that_may_write_has_no_code_of_the_pull_request(job: Any) -> None:
    writes = {name for name, access in job["permissions"].items() if access == "write"} - {"id-token"}
    if writes:
        assert writes == {"pull-requests"}
        assert commands(job) == [COMMENT]
        assert not [action for action in actions(job) if action.startswith("actions/checkout@")]
        assert "head.repo.full_name == github.repository" in job["if"]


@each_job
def test_only_a_job_of_a_protected_environment_reaches_aws(job: Any) -> None:
    reaches = any(action.startswith(CREDENTIALS) for action in actions(job))
    assert reaches == (job["permissions"].get("id-token") == "write") == ("environment" in job)


def test_pull_requests_start_the_checks_only_and_those_reach_no_aws() -> None:
    for file in WORKFLOWS:
        text = file.read_text()
        triggers = yaml.safe_load(text)[True]  # YAML 1.1 reads the key `on` as true
        assert not {"pull_request_target", "workflow_run"} & set(triggers)
        assert "pull_request" not in triggers or not re.search(r"id-token|secrets\.|AWS_", text)


def test_what_is_deployed_is_what_was_uploaded_with_its_digest() -> None:
    steps = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]["deploy"]["steps"]
    (download,) = [step["with"] for step in steps if step.get("uses", "").startswith("actions/download-artifact@")]
    assert download["artifact-ids"] == "${{ needs.assembly.outputs.artifact }}"
    assert download["digest-mismatch"] == "error"
    assert not [step for step in steps if step.get("run", "").startswith("make assembly")]


def test_a_workflow_deploys_the_environment_s_own_stacks_and_none_that_names_the_repository() -> None:
    """`github.repository` has no ids, where the tokens' subjects may: no role's trust comes from it."""
    found = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    assert found["assembly"]["env"]["REPOSITORY"] == "${{ github.repository }}"
    assert found["deploy"]["env"]["ONLY"] == "Verger-${{ needs.assembly.outputs.environment }}-*"
    deployed = make("-n", "deploy", "ONLY=Verger-dev-*", "ASSEMBLY=.", "APPROVAL=never").stdout
    assert '--exclusively "$ONLY" --require-approval never' in deployed
    assert "--all" not in deployed
    deployers = [file.stem for file in WORKFLOWS if re.search(r"run: make .*\bdeploy\b", file.read_text())]
    assert deployers == ["deploy"]


def test_who_approves_has_seen_what_differs_from_what_is_deployed() -> None:
    """Of the files that will be deployed, with a role that can do nothing else."""
    found = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    diff, deploy = found["diff"], found["deploy"]
    assert "diff" in deploy["needs"]
    assert "make diff BASE=deployed" in commands(diff)
    assert diff["environment"] == f"{deploy['environment']}-diff"
    fetched = [[step["with"] for step in job["steps"] if "download-artifact@" in step.get("uses", "")] for job in (diff, deploy)]
    assert fetched[0] == fetched[1]
    (role,) = [step["with"]["role-to-assume"] for step in diff["steps"] if step.get("uses", "").startswith(CREDENTIALS)]
    assert role == "${{ vars.AWS_DIFF_ROLE }}"


def test_nothing_is_deleted_beside_a_deployment_to_its_environment() -> None:
    """A deployment uploads no file that is there already, and may name again one that was about to go."""
    deploy, gc = (yaml.safe_load((REPOSITORY / ".github" / "workflows" / f"{name}.yml").read_text()) for name in ("deploy", "gc"))
    (job,) = gc["jobs"].values()
    names = r"deploy-\$\{\{ (inputs\.environment \|\| .*|matrix\.environment) \}\}"
    assert all(re.fullmatch(names, each["concurrency"]["group"]) for each in (deploy, job))
    assert not any(each["concurrency"]["cancel-in-progress"] for each in (deploy, job))
    assert job["environment"] == "${{ matrix.environment }}-gc"
    (role,) = [step["with"]["role-to-assume"] for step in job["steps"] if step.get("uses", "").startswith(CREDENTIALS)]
    assert role == "${{ vars.AWS_GC_ROLE }}"
    assert commands(job)[-1] == "make gc CONFIRM=false"


# --- what docs/ci.md has an administrator set -----------------------------------------------------------------------

NAMES = ("dev", "prod")
NOTES = """#!{python}
import json, sys
words = sys.argv[1:]
with open({notes!r}, "a") as notes:
    print(json.dumps(words), file=notes)
print("42" if words[1].startswith("users/") else "")
"""
OUTPUTS = """#!{python}
import re, sys
print("the", *re.findall("OutputKey=='(.*)'", " ".join(sys.argv)))
"""


@pytest.fixture
def pasted(tmp_path: Path) -> list[list[str]]:
    """Words of each `gh` that the page's commands come to, pasted into a shell in which neither GitHub nor AWS can be reached."""
    section = (REPOSITORY / "docs" / "ci.md").read_text().partition("## Setting it up, once\n")[2].partition("\n## ")[0]
    block = "\n".join(line.removeprefix("    ") for line in section.splitlines() if line.startswith("    "))
    notes = tmp_path / "notes"
    for name, text in (("gh", NOTES), ("aws", OUTPUTS)):
        (tmp_path / name).write_text(text.format(python=sys.executable, notes=str(notes)))
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-eu"], input=block, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in notes.read_text().splitlines()]


def read_by_workflows() -> tuple[set[str], set[tuple[str, str]]]:
    """Variables of the repository, and (GitHub environment, variable) of those that belong to one: the steps of its jobs read them."""
    everywhere, own = set[str](), set[tuple[str, str]]()
    for file in WORKFLOWS:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            steps = variables(job.pop("steps"))
            everywhere |= variables(job)
            if "environment" in job:
                suffix = re.fullmatch(r"\$\{\{[^}]+\}\}(-[a-z]+)?", job["environment"])
                assert suffix, job["environment"]
                own |= {(f"{name}{suffix[1] or ''}", variable) for name in NAMES for variable in steps}
            else:
                everywhere |= steps
        everywhere |= variables({key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "jobs"})
    return everywhere, own


def variables(part: Any) -> set[str]:
    return set(re.findall(r"\bvars\.(\w+)", json.dumps(part, default=str)))


def set_by_page(pasted: list[list[str]]) -> dict[tuple[str, str], str]:
    """Values by GitHub environment, "" for the repository, and name."""
    found = {}
    for _, _, name, *flags in (words for words in pasted if words[:2] == ["variable", "set"]):
        given = dict(zip(flags[::2], flags[1::2], strict=True))
        found[given.get("--env", ""), name] = given["--body"]
    return found


def test_the_page_s_commands_set_each_variable_that_a_workflow_reads_and_no_other(pasted: list[list[str]]) -> None:
    everywhere, own = read_by_workflows()
    assert set(set_by_page(pasted)) == own | {("", name) for name in everywhere}
    assert not [file for file in WORKFLOWS if "secrets." in file.read_text()]
    assert not [words for words in pasted if words[0] == "secret"]


def test_the_page_s_commands_set_values_that_the_workflows_and_their_roles_understand(pasted: list[list[str]]) -> None:
    found = set_by_page(pasted)
    roles = {place: value.removeprefix("the ") for place, value in found.items() if place[1].endswith("_ROLE")}
    for (environment, variable), output in roles.items():
        kind, name = variable.split("_")[1].capitalize(), environment.split("-")[0].capitalize()
        assert output == f"{kind}RoleArn{name if kind == 'Run' else ''}"
    (stack,) = json.loads((REPOSITORY / "tests" / "infra" / "snapshots" / "delivery.json").read_text()).values()
    assert set(roles.values()) == {name for name in stack["Outputs"] if "RoleArn" in name}
    assert found["", "DEPLOY_ON_PUSH"] == "true"
    assert found["", "NIGHTLY_ENVIRONMENT"] in NAMES
    assert json.loads(found["", "GC_ENVIRONMENTS"]) == ["prod"]  # of one account: it does for both


def test_the_page_s_commands_protect_each_environment_that_a_workflow_names_and_no_other(pasted: list[list[str]]) -> None:
    """main alone deploys, a tag as well where a deployment may begin with one, and only after a review."""
    made, allowed = {}, set()
    for _, *flags in (words for words in pasted if words[0] == "api" and "--method" in words):
        (place,) = (word for word in flags if word.startswith("repos/"))
        _, _, _, _, name, *policies = place.split("/")
        fields = {word.partition("=")[0]: word.partition("=")[2] for flag, word in pairwise(flags) if flag in ("-f", "-F")}
        if policies == ["deployment-branch-policies"]:
            allowed.add((name, fields["type"], fields["name"]))
        else:
            assert fields["deployment_branch_policy[custom_branch_policies]"] == "true"
            made[name] = fields.get("reviewers[][id]")
    _, own = read_by_workflows()
    assert made == {name: "42" if name in NAMES else None for name, _ in own}
    tagged = {f"{name}{each}" for name in NAMES for each in ("", "-diff")}
    assert allowed == {(name, "branch", "main") for name in made} | {(name, "tag", "v*") for name in tagged}


@pytest.mark.parametrize("page", ["README.md", "docs/ci.md"])
def test_the_page_has_github_asked_how_the_tokens_name_the_repository(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert r"""gh api repos/OWNER/NAME --jq '"\(.owner.login)@\(.owner.id)/\(.name)@\(.id)"'""" in text
    assert "gh api repos/OWNER/NAME/actions/oidc/customization/sub" in text


def test_environments_are_those_that_workflows_let_choose() -> None:
    known = tuple(tomllib.loads((REPOSITORY / "infra" / "environments.toml").read_text()))
    assert known == NAMES, "another choice of environments is one of the workflows (options), of docs/ci.md and of NAMES here, too"
    for file in WORKFLOWS:
        inputs = (yaml.safe_load(file.read_text())[True].get("workflow_dispatch") or {}).get("inputs", {})
        assert "environment" not in inputs or tuple(inputs["environment"]["options"]) == NAMES


# --- the targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("deploy", ["cdk deploy --app build/assembly/prod --all --require-approval broadening"]),
        ("deploy APPROVAL=never", ["cdk deploy --app build/assembly/prod --all --require-approval never", "sha256sum --quiet --check"]),
        ("assembly", ['cdk synth --quiet -c environment="$ENV"  --output', "mv build/assembly/.new build/assembly/prod"]),
        ("assembly REPOSITORY=example/verger", ['-c environment="$ENV" -c repository="$REPOSITORY" --output']),
        ("assembly REPOSITORY=example@1/verger@2", ['-c environment="$ENV" -c repository="$REPOSITORY" --output']),
        ("gc", ["cdk gc --unstable=gc --type s3 --rollback-buffer-days 30 -c placeholders=true"]),
        ("gc CONFIRM=false", ["--rollback-buffer-days 30 --confirm=false -c placeholders=true"]),
        ("gc CONFIRM=yes", ["--rollback-buffer-days 30 -c placeholders=true"]),
        ("destroy", ["cdk destroy --exclusively 'Verger-*-*' -c environment=\"$ENV\""]),
        (
            "environment",
            ['-m infra.executors "$ENV") && .venv/bin/python -m bootstrap environment --out build/environment $flags'],
        ),
        ("run NAME=first", ['bootstrap submit --environment "$ENV" --results "$NAME" --wait -- $ARGUMENTS']),
    ],
)
def test_a_target_runs_on_one_environment(target: str, wanted: list[str]) -> None:
    told = make("-n", *target.split(), "ENV=prod")
    assert told.returncode == 0
    assert not [line for line in wanted if line not in told.stdout]
    assert "placeholders" not in told.stdout or target.split()[0] in ("destroy", "gc")


def test_a_run_without_a_name_is_one_line_before_anything_is_asked() -> None:
    told = make("run", "NAME=")
    assert told.stderr.splitlines()[0] == "error: a run needs a name: make run ENV=dev NAME=first"
    assert told.returncode == 2


def test_what_a_person_types_is_no_command(tmp_path: Path) -> None:
    """Neither make's nor the shell's: the name is refused by what it is given to."""
    name = f"$(shell touch {tmp_path}/made); touch {tmp_path}/sh; `touch {tmp_path}/tick`"
    told = make("run", NAME=name)
    assert "is no name for a run" in told.stderr
    assert not list(tmp_path.iterdir())
