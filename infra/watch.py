"""Who hears of a run that failed, and where to look."""

from __future__ import annotations

import json

from aws_cdk import Aws, Duration
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_emrserverless as emr
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.environments import Environment
from job import contract

NAMESPACE = "AWS/EMRServerless"
MINUTE = Duration.minutes(1)
JOB_STATES = ("SubmittedJobs", "PendingJobs", "RunningJobs", "SuccessJobs", "FailedJobs", "CancelledJobs")
NEARLY = 0.9  # of the account's quota: the next run may not get its executors


class Watch(Construct):
    """A topic, and what is published to it: runs that failed or were cancelled, and the vCPU quota coming near."""

    def __init__(
        self, scope: Construct, id_: str, *, environment: Environment, bucket: s3.IBucket, application: emr.CfnApplication
    ) -> None:
        super().__init__(scope, id_)
        self.topic = sns.Topic(self, "Topic", display_name=f"Verger {environment.name}", enforce_ssl=True)
        if environment.alert_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(environment.alert_email))
        self.rule = self._report_runs(environment, bucket, application)
        self.alarms = [self._failed_jobs(environment, application), self._quota(environment)]
        self._let_publish("events.amazonaws.com", [self.rule.attr_arn])
        self._let_publish("cloudwatch.amazonaws.com", [alarm.alarm_arn for alarm in self.alarms])
        for alarm in self.alarms:
            alarm.add_alarm_action(actions.SnsAction(self.topic))
        self.dashboard = _dashboard(self, environment, application)
        if environment.monthly_budget_usd:
            self.budget = _budget(self, environment)

    def _report_runs(self, environment: Environment, bucket: s3.IBucket, application: emr.CfnApplication) -> events.CfnRule:
        """The event has no reason in it (EventBridge reference, aws.emr-serverless): the message says how to get it."""
        told = (
            f"Verger {environment.name}: run <run> is <state> (it was <before>), at <time>. "
            f"The reason: aws emr-serverless get-job-run --region {Aws.REGION} --application-id <application> --job-run-id <run> "
            "--query jobRun.stateDetails. "
            f"Its logs: s3://{bucket.bucket_name}/{contract.LOGS}/applications/<application>/jobs/<run>/"
        )
        return events.CfnRule(
            self,
            "RunEnded",
            description=f"Runs of Verger in {environment.name} that failed or were cancelled",
            event_pattern={
                "source": ["aws.emr-serverless"],
                "detail-type": ["EMR Serverless Job Run State Change"],
                "detail": {"applicationId": [application.attr_application_id], "state": ["FAILED", "CANCELLED"]},
            },
            targets=[
                events.CfnRule.TargetProperty(
                    arn=self.topic.topic_arn,
                    id="Topic",
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map={
                            "run": "$.detail.jobRunId",
                            "application": "$.detail.applicationId",
                            "state": "$.detail.state",
                            "before": "$.detail.previousState",
                            "time": "$.time",
                        },
                        input_template=json.dumps(told),
                    ),
                )
            ],
        )

    def _let_publish(self, service: str, sources: list[str]) -> None:
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(service)],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"ArnEquals": {"aws:SourceArn": sources}},
            )
        )

    def _failed_jobs(self, environment: Environment, application: emr.CfnApplication) -> cloudwatch.Alarm:
        """EventBridge delivers on best effort; the alarm is the second pair of eyes."""
        return cloudwatch.Alarm(
            self,
            "RunsFailed",
            alarm_description=f"A run of Verger failed in {environment.name}; the mail about it says which, and where its logs are",
            metric=_metric(application, "FailedJobs", statistic="Sum"),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _quota(self, environment: Environment) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "QuotaNear",
            alarm_description=f"EMR Serverless uses {NEARLY:.0%} of the account's {environment.quota_vcpus} vCPUs",
            # "EMR Serverless usage metrics", EMR Serverless User Guide
            metric=cloudwatch.Metric(
                namespace="AWS/Usage",
                metric_name="ResourceCount",
                dimensions_map={"Service": "EMR Serverless", "Type": "Resource", "Resource": "vCPU", "Class": "None"},
                statistic="Maximum",
                period=Duration.minutes(5),
            ),
            threshold=NEARLY * environment.quota_vcpus,
            evaluation_periods=3,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


def _metric(application: emr.CfnApplication, name: str, *, statistic: str, **dimensions: str) -> cloudwatch.Metric:
    """A metric that 7.10 and later publish: with ApplicationName. Those without are frozen (User Guide, "Monitoring metrics")."""
    of_application = {"ApplicationName": str(application.name), "ApplicationId": application.attr_application_id}
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={**of_application, **dimensions},
        statistic=statistic,
        period=MINUTE,
        label=" ".join([*dimensions.values(), name]),
    )


def _dashboard(scope: Construct, environment: Environment, application: emr.CfnApplication) -> cloudwatch.Dashboard:
    states = cloudwatch.SingleValueWidget(
        title=f"Verger {environment.name}: runs",
        metrics=[_metric(application, state, statistic="Sum") for state in JOB_STATES],
        width=24,
        height=4,
    )

    def workers(title: str, name: str) -> cloudwatch.GraphWidget:
        return cloudwatch.GraphWidget(
            title=title,
            stacked=True,
            width=8,
            left=[
                _metric(application, name, statistic="Sum", WorkerType=worker, CapacityAllocationType="OnDemandCapacity")
                for worker in ("Spark_Driver", "Spark_Executor")
            ],
        )

    dashboard = cloudwatch.Dashboard(scope, "Dashboard")
    dashboard.add_widgets(states)
    dashboard.add_widgets(
        workers("Workers", "RunningWorkerCount"), workers("vCPUs", "CPUAllocated"), workers("Memory, GB", "MemoryAllocated")
    )
    return dashboard


def _budget(scope: Construct, environment: Environment) -> budgets.CfnBudget:
    """Mail at four fifths of the budget and at all of it; it counts what carries the environment's tags."""
    mail = budgets.CfnBudget.SubscriberProperty(address=environment.alert_email, subscription_type="EMAIL")
    return budgets.CfnBudget(
        scope,
        "Budget",
        budget=budgets.CfnBudget.BudgetDataProperty(
            budget_type="COST",
            time_unit="MONTHLY",
            budget_limit=budgets.CfnBudget.SpendProperty(amount=environment.monthly_budget_usd, unit="USD"),
            cost_filters={"TagKeyValue": [f"user:verger:environment${environment.name}"]},
        ),
        notifications_with_subscribers=[
            budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    comparison_operator="GREATER_THAN", notification_type="ACTUAL", threshold=percent, threshold_type="PERCENTAGE"
                ),
                subscribers=[mail],
            )
            for percent in (80, 100)
        ],
    )
