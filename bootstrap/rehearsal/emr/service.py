"""EMR Serverless' API: what each operation does. moto's keeps records of runs; here they run."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from bootstrap.rehearsal.emr.applications import CHANGEABLE, Application
from bootstrap.rehearsal.emr.attempt import Site
from bootstrap.rehearsal.emr.properties import check
from bootstrap.rehearsal.emr.refusal import Refused
from bootstrap.rehearsal.emr.runs import ACTIVE, Run
from bootstrap.rehearsal.identity import Identity

Json = dict[str, Any]

PAGE = 50  # runs in an answer of ListJobRuns
MOST_ATTEMPTS = 10  # of a run ("Job resiliency", User Guide)
MOST_LETTERS = 2048  # of a run's own policy (botocore, PolicyDocument)


class Service:
    """Applications and runs. Each operation takes its request and gives its answer, as botocore describes them."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.identity = Identity()
        self._site = Site(endpoint, folder, self.identity)
        self._applications: dict[str, Application] = {}
        self._runs: dict[str, Run] = {}
        self._lock = threading.RLock()

    def stop(self) -> None:
        """Ends all runs, and their processes."""
        for run in self._runs.values():
            run.cancel(grace_s=0)
        for run in self._runs.values():
            run.join()

    def create_application(self, request: Json) -> Json:
        with self._lock:
            made = Application(request)
            self._applications[made.id] = made
        return {"applicationId": made.id, "name": request.get("name", ""), "arn": made.arn}

    def get_application(self, request: Json) -> Json:
        return {"application": self._application(request).to_json()}

    def list_applications(self, request: Json) -> Json:
        return {"applications": [each.summary() for each in self._applications.values() if _wanted(each.state, request)]}

    def update_application(self, request: Json) -> Json:
        application = self._changeable(request)
        application.settings |= {name: value for name, value in request.items() if name not in ("applicationId", "clientToken")}
        return {"application": application.to_json()}

    def replace_application(self, application_id: str, settings: Json) -> None:
        """What CloudFormation's update comes to: settings that are no longer in the template go."""
        self.stop_application({"applicationId": application_id})
        application = self._changeable({"applicationId": application_id})
        application.settings = {"name": application.settings.get("name", "")} | settings

    def delete_application(self, request: Json) -> Json:
        self._changeable(request).become("TERMINATED")
        return {}

    def start_application(self, request: Json) -> Json:
        self._application(request).become("STARTED")
        return {}

    def stop_application(self, request: Json) -> Json:
        application = self._application(request)
        if application.running:
            raise Refused("ValidationException", f"Application {application.id} has {application.running} active runs")
        if application.state == "STARTED":
            application.become("STOPPED")
        return {}

    def start_job_run(self, request: Json) -> Json:
        check(request, "StartJobRun")
        with self._lock:
            application = self._application(request)
            if (run := self._with_token(request)) is None:
                run = Run(application, request)
                self._admit(application, run)
                self._runs[run.id] = run
                run.start(self._site)
        return {"applicationId": application.id, "jobRunId": run.id, "arn": run.arn}

    def _with_token(self, request: Json) -> Run | None:
        """The run that was started with this token. Refused where that was another request."""
        for run in self._runs.values():
            if run.request["clientToken"] == request["clientToken"]:
                if run.request != request:
                    raise Refused("ConflictException", f"Client token {request['clientToken']} was used with other parameters")
                return run
        return None

    def _admit(self, application: Application, run: Run) -> None:
        if application.state == "TERMINATED":
            raise Refused("ValidationException", f"Application {application.id} is terminated")
        if application.state in CHANGEABLE and not application.settings.get("autoStartConfiguration", {}).get("enabled", True):
            raise Refused("ValidationException", f"Application {application.id} is {application.state} and does not start by itself")
        if ":role/" not in run.request["executionRoleArn"]:
            raise Refused("ValidationException", f"Execution role {run.request['executionRoleArn']} is no role")
        if (minutes := run.request.get("executionTimeoutMinutes")) is not None and not 5 <= minutes <= 10_080:
            raise Refused("ValidationException", f"executionTimeoutMinutes {minutes} is not between 5 and 10080")
        if (attempts := run.request.get("retryPolicy", {}).get("maxAttempts", 1)) > MOST_ATTEMPTS:
            raise Refused("ValidationException", f"maxAttempts {attempts} is more than {MOST_ATTEMPTS}")
        if (letters := len(run.request.get("executionIamPolicy", {}).get("policy", ""))) > MOST_LETTERS:
            raise Refused("ValidationException", f"executionIamPolicy has {letters} letters, more than {MOST_LETTERS}")

    def get_job_run(self, request: Json) -> Json:
        return {"jobRun": self._run(request).to_json(_attempt(request))}

    def list_job_runs(self, request: Json) -> Json:
        application = self._application(request)
        after, before = (_seconds(request.get(name)) for name in ("createdAtAfter", "createdAtBefore"))
        runs = [run for run in self._runs.values() if run.application is application and _wanted(run.state, request)]
        runs = [run for run in runs if (after is None or run.created > after) and (before is None or run.created < before)]
        start, most = int(request.get("nextToken", 0)), int(request.get("maxResults", PAGE))
        following = {"nextToken": str(start + most)} if start + most < len(runs) else {}
        return {"jobRuns": [run.summary() for run in runs[::-1][start : start + most]]} | following

    def list_job_run_attempts(self, request: Json) -> Json:
        return {"jobRunAttempts": self._run(request).attempt_summaries()}

    def cancel_job_run(self, request: Json) -> Json:
        run = self._run(request)
        if run.state not in ACTIVE:
            raise Refused("ValidationException", f"Job run {run.id} is {run.state} and cannot be cancelled")
        run.cancel(grace_s=int(request.get("shutdownGracePeriodInSeconds", 15)))
        return {"applicationId": run.application.id, "jobRunId": run.id}

    def get_dashboard_for_job_run(self, request: Json) -> Json:
        run = self._run(request)
        kept = run.application.settings.get("monitoringConfiguration", {}).get("managedPersistenceMonitoringConfiguration", {})
        if not kept.get("enabled", True):
            raise Refused("ValidationException", "Application UI: Not supported")
        return {"url": f"https://p-{run.id}-{run.application.id}.emrappui-prod.invalid/shs/history/{run.id}"}

    def tag_resource(self, request: Json) -> Json:
        self._tags(request).update(request["tags"])
        return {}

    def untag_resource(self, request: Json) -> Json:
        keys = request["tagKeys"]
        for key in [keys] if isinstance(keys, str) else keys:
            self._tags(request).pop(key, None)
        return {}

    def list_tags_for_resource(self, request: Json) -> Json:
        return {"tags": self._tags(request)}

    def _tags(self, request: Json) -> dict[str, str]:
        owners: Iterable[Any] = [*self._applications.values(), *self._runs.values()]
        for owner in owners:
            if owner.arn == request["resourceArn"]:
                of = owner.settings if isinstance(owner, Application) else owner.request
                tags: dict[str, str] = of.setdefault("tags", {})
                return tags
        raise Refused("ResourceNotFoundException", f"{request['resourceArn']} does not exist")

    def _application(self, request: Json) -> Application:
        if not (found := self._applications.get(request["applicationId"])):
            raise Refused("ResourceNotFoundException", f"Application {request['applicationId']} does not exist")
        return found

    def _changeable(self, request: Json) -> Application:
        application = self._application(request)
        if application.state not in CHANGEABLE:
            raise Refused("ValidationException", f"Application {application.id} is {application.state}, not {' or '.join(CHANGEABLE)}")
        return application

    def _run(self, request: Json) -> Run:
        run = self._runs.get(request["jobRunId"])
        if not run or run.application is not self._application(request):
            raise Refused("ResourceNotFoundException", f"Job run {request['jobRunId']} does not exist")
        return run


def _wanted(state: str, request: Json) -> bool:
    states = request.get("states") or [state]
    return state in ([states] if isinstance(states, str) else states)


def _attempt(request: Json) -> int | None:
    return int(request["attempt"]) if request.get("attempt") else None


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None
