"""Who hears of what, and whether the message and the metrics are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

EMR = "AWS/EMRServerless"
JOB_METRICS = {"SubmittedJobs", "PendingJobs", "RunningJobs", "SuccessJobs", "FailedJobs", "CancelledJobs"}
WORKER_METRICS = {"RunningWorkerCount", "CPUAllocated", "MemoryAllocated"}
# Of an event as the EventBridge reference shows it (aws.emr-serverless, EMR Serverless Job Run State Change)
EVENT = {
    "time": "2026-11-24T09:02:03Z",
    "detail": {"jobRunId": "00fr1", "applicationId": "00f1", "state": "FAILED", "previousState": "RUNNING"},
}


def of(assembly: Any, kind: str, name: str = "dev", **options: Any) -> Any:
    return assembly.account.one(f"Verger-{name}-Watch", kind, **options).properties


def dig(event: Any, path: str) -> str:
    for step in path.removeprefix("$.").split("."):
        event = event[step]
    return str(event)


def metrics(assembly: Any, name: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of every metric of the alarms and the dashboard."""
    account = assembly.account
    for alarm in (each.properties for each in account.all("AWS::CloudWatch::Alarm") if each.stack == f"Verger-{name}-Watch"):
        for metric in [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", [])] or [alarm]:
            yield metric["Namespace"], metric["MetricName"], {each["Name"]: each["Value"] for each in metric["Dimensions"]}
    for widget in json.loads(of(assembly, "AWS::CloudWatch::Dashboard", name)["DashboardBody"])["widgets"]:
        for namespace, metric, *rest in widget["properties"]["metrics"]:
            words = [word for word in rest if isinstance(word, str)]
            yield namespace, metric, dict(zip(words[::2], words[1::2], strict=True))


def test_the_rule_waits_for_failed_and_cancelled_runs_of_this_application(assembly, environment):
    application = assembly.account.one(f"Verger-{environment.name}-Job", "AWS::EMRServerless::Application")
    assert of(assembly, "AWS::Events::Rule", environment.name)["EventPattern"] == {
        "source": ["aws.emr-serverless"],
        "detail-type": ["EMR Serverless Job Run State Change"],
        "detail": {"applicationId": [application.arn.rpartition("/")[2]], "state": ["FAILED", "CANCELLED"]},
    }


def test_the_message_is_a_sentence_with_the_command_that_tells_the_reason(assembly):
    (target,) = of(assembly, "AWS::Events::Rule")["Targets"]
    paths, template = target["InputTransformer"]["InputPathsMap"], target["InputTransformer"]["InputTemplate"]
    assert set(re.findall(r"<(\w+)>", template)) == set(paths), "every placeholder has a path, and every path a use"
    message = json.loads(re.sub(r"<(\w+)>", lambda found: dig(EVENT, paths[found[1]]), template))
    assert message.startswith("Verger dev: run 00fr1 is FAILED (it was RUNNING), at 2026-11-24T09:02:03Z. ")
    assert "aws emr-serverless get-job-run --region eu-west-1 --application-id 00f1 --job-run-id 00fr1" in message
    bucket = assembly.account.one("Verger-dev-Storage", "AWS::S3::Bucket").name
    assert message.endswith(f"Its logs: s3://{bucket}/logs/applications/00f1/jobs/00fr1/")
    assert target["Arn"] == assembly.account.one("Verger-dev-Watch", "AWS::SNS::Topic").arn


def test_only_the_rule_and_the_alarms_publish_and_only_over_tls(assembly, environment):
    stack, account = f"Verger-{environment.name}-Watch", assembly.account
    statements = account.one(stack, "AWS::SNS::TopicPolicy").properties["PolicyDocument"]["Statement"]
    denied = [each for each in statements if each["Effect"] == "Deny"]
    assert [each["Condition"] for each in denied] == [{"Bool": {"aws:SecureTransport": "false"}}]
    allowed = {each["Principal"]["Service"]: each for each in statements if each["Effect"] == "Allow"}
    alarms = {each.arn for each in account.all("AWS::CloudWatch::Alarm") if each.stack == stack}
    assert {service: set(each["Condition"]["ArnEquals"]["aws:SourceArn"]) for service, each in allowed.items()} == {
        "events.amazonaws.com": {account.one(stack, "AWS::Events::Rule").arn},
        "cloudwatch.amazonaws.com": alarms,
    }
    assert {each["Action"] for each in allowed.values()} == {"sns:Publish"}


def test_alarms_and_dashboard_use_the_metrics_that_are_still_published(assembly, environment):
    """Those without ApplicationName have been frozen since 7.10; one with another dimension would be another metric."""
    found = [each for each in metrics(assembly, environment.name) if each[0] == EMR]
    job = assembly.account.one(f"Verger-{environment.name}-Job", "AWS::EMRServerless::Application")
    assert {(of["ApplicationName"], of["ApplicationId"]) for _, _, of in found} == {(job.properties["Name"], job.arn.rpartition("/")[2])}
    application, workers = {"ApplicationName", "ApplicationId"}, {"WorkerType", "CapacityAllocationType"}
    assert {name for _, name, dimensions in found if set(dimensions) == application} == JOB_METRICS
    assert {name for _, name, dimensions in found if set(dimensions) == application | workers} == WORKER_METRICS
    assert {name for _, name, _ in found} == JOB_METRICS | WORKER_METRICS


def test_there_is_no_other_metric_than_the_accounts_use_of_its_quota(assembly, environment):
    others = [each for each in metrics(assembly, environment.name) if each[0] != EMR]
    dimensions = {"Service": "EMR Serverless", "Type": "Resource", "Resource": "vCPU", "Class": "None"}
    assert others == [("AWS/Usage", "ResourceCount", dimensions)]


def test_one_failed_run_is_enough_and_nine_tenths_of_the_quota(everything, full):
    failed, quota = (of(everything, "AWS::CloudWatch::Alarm", "full", id_=f"Watch{name}") for name in ("RunsFailed", "QuotaNear"))
    assert (failed["Threshold"], quota["Threshold"]) == (1, pytest.approx(0.9 * full.quota_vcpus))
    for alarm in (failed, quota):
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmActions"] == [everything.account.one("Verger-full-Watch", "AWS::SNS::Topic").arn]


def test_mail_and_budget_are_options(assembly, everything, full):
    assert not {"AWS::SNS::Subscription", "AWS::Budgets::Budget"} & {each.type for each in assembly.account.resources}
    mail = of(everything, "AWS::SNS::Subscription", "full")
    assert (mail["Protocol"], mail["Endpoint"]) == ("email", full.alert_email)
    budget = of(everything, "AWS::Budgets::Budget", "full")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": full.monthly_budget_usd, "Unit": "USD"}
    assert (budget["Budget"]["TimeUnit"], budget["Budget"]["BudgetType"]) == ("MONTHLY", "COST")
    told = budget["NotificationsWithSubscribers"]
    assert [each["Notification"]["Threshold"] for each in told] == [80, 100]
    assert all(each["Subscribers"] == [{"Address": full.alert_email, "SubscriptionType": "EMAIL"}] for each in told)


def test_the_budget_counts_what_carries_the_environments_tag(everything):
    (filter_,) = of(everything, "AWS::Budgets::Budget", "full")["Budget"]["CostFilters"]["TagKeyValue"]
    key, _, value = filter_.removeprefix("user:").partition("$")
    tags = everything.account.one("Verger-full-Job", "AWS::EMRServerless::Application").properties["Tags"]
    assert {"Key": key, "Value": value} in tags


def test_widgets_of_the_dashboard_do_not_overlap(assembly):
    widgets = json.loads(of(assembly, "AWS::CloudWatch::Dashboard")["DashboardBody"])["widgets"]
    cells = [
        (x, y)
        for each in widgets
        for x in range(each["x"], each["x"] + each["width"])
        for y in range(each["y"], each["y"] + each["height"])
    ]
    assert len(cells) == len(set(cells))
    assert all(each["x"] + each["width"] <= 24 for each in widgets)
