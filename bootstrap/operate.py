"""The verbs for runs in an account: their flags, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.estimate import positive, up_to
from job.submission import ATTEMPTS, MOST_ATTEMPTS, command

if TYPE_CHECKING:
    from bootstrap.run import Run, Seen

MOST_RUNS = 1000
RIGHT = ("images", "faults", "took", "cost", "attempts")
STATES = {"SUCCESS": "green", "FAILED": "red", "CANCELLED": "yellow", "RUNNING": "cyan"}


def add_runs_verbs(verbs: Any) -> None:
    """Gives each its flags, and what to run. verbs: the parsers of the command line."""
    for name, what, add in (
        ("submit", "a run on EMR Serverless, started and followed", _add_submit),
        ("follow", "a run to its end: images done, cost so far, why it failed", _add_follow),
        ("fetch", "a run's results to a folder, checked", _add_fetch),
        ("cost", "what a run was billed for", _add_cost),
        ("runs", "the runs that there were", _add_runs),
    ):
        parser = verbs.add_parser(name, help=what, allow_abbrev=False)
        parser.add_argument("--environment", required=True, metavar="NAME", help="deployed environment, such as dev (required)")
        parser.add_argument("--region", metavar="REGION", help="AWS region of the environment (default: the profile's, or AWS_REGION)")
        add(parser)


def _add_submit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--results", required=True, metavar="NAME", help="name of the run, and of its folder under results/ (required)")
    add("--wait", action="store_true", help="follow the run until it ends; exit code 1 where it fails (default: start it only)")
    add("--again", action="store_true", help="start a new run where this one has been started before (default: that is the same run)")
    add(
        "--attempts",
        type=up_to(MOST_ATTEMPTS),
        metavar="N",
        help=f"try a run that fails up to N times, from the rows that are there (default: {ATTEMPTS}, with --max-cost 1)",
    )
    add("--max-cost", type=positive, metavar="USD", help="start nothing that is estimated to cost more, and no longer a run (default: any)")
    add("--dry-run", action="store_true", help="print the AWS CLI's command instead of starting anything")
    add("--json", action="store_true", help="the run, the looks at it and a dry run's request as lines of JSON (default: for a person)")
    add("arguments", nargs="*", metavar="-- ARGUMENT", help="further arguments of the job, such as -- --components 50")
    parser.set_defaults(run=_submit)


def _submit(flags: argparse.Namespace) -> None:
    from bootstrap.budget import within_budget
    from bootstrap.submit import Order, arguments_of, find_deployment, request_with_token, start

    attempts = flags.attempts or (ATTEMPTS if flags.max_cost is None else 1)  # the sum would have to pay for each of them
    order = Order(flags.environment, flags.results, tuple(flags.arguments), flags.again, attempts)
    deployment = find_deployment(order.environment, region=flags.region)
    if flags.max_cost is not None:
        deployment = within_budget(deployment, arguments_of(order, deployment), usd=flags.max_cost, attempts=attempts)
    if flags.dry_run:
        request = request_with_token(order, deployment)
        print(json.dumps(request) if flags.json else command(request, region=deployment.region))
        return
    run = start(order, deployment)
    try:
        print(json.dumps({"run": run.id, "name": order.results}) if flags.json else run.id, flush=True)
        if flags.wait:
            _follow_to_end(run, as_json=flags.json)
    except BrokenPipeError:
        print(f"note: run {run.id} goes on, and nobody reads what this prints: {run.follow}", file=sys.stderr)
        raise


def _add_follow(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="each look at it as a line of JSON (default: a line for a person)")
    parser.set_defaults(run=lambda flags: _follow_to_end(_find(flags), as_json=flags.json))


def _follow_to_end(run: Run, *, as_json: bool) -> None:
    from bootstrap.follow import Follower
    from bootstrap.telling import Lines, say_json

    Follower(say_json if as_json else Lines(sys.stderr)).follow(run)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder, or one that holds half of this fetch")
    parser.add_argument("--json", action="store_true", help="what was fetched as JSON (default: a line)")
    parser.set_defaults(run=_fetch)


def _fetch(flags: argparse.Namespace) -> None:
    from bootstrap.console import print_json
    from bootstrap.fetch import fetch

    fetched = fetch(_seen(flags), flags.folder)
    if flags.json:
        print_json(asdict(fetched) | {"folder": str(flags.folder)})
        return
    rows = fetched.rows
    print(f"{fetched.files} files, {fetched.size_bytes / 1e6:,.1f} MB, in {flags.folder}")
    print(f"{rows.images:,} images: {rows.features:,} rows of features, {rows.faults:,} of faults")


def _add_cost(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="the same for a machine (default: a table)")
    parser.set_defaults(run=_cost)


def _cost(flags: argparse.Namespace) -> None:
    from bootstrap.console import Column, print_json, print_table
    from bootstrap.run import architecture_of
    from bootstrap.spent import bill_of

    seen = _seen(flags)
    bill = bill_of(seen, architecture=architecture_of(seen.run.deployment))
    if not bill.items:
        print(f"note: run {seen.run.id} is {seen.state} and had no workers: nothing is billed", file=sys.stderr)
    if flags.json:
        items = [asdict(item) for item in bill.items]
        print_json(
            {"run": seen.run.id, "state": seen.state, "attempt": seen.attempt, "usd": bill.usd, "items": items, "prices": bill.source}
        )
        return
    rows = [(item.name, f"{item.quantity:,.3f}", item.unit, f"${item.usd:,.4f}") for item in bill.items]
    columns = [Column("billed"), Column("quantity", right=True), Column("unit"), Column("USD", right=True)]
    print_table(columns, [*rows, ("all of it", "", "", f"${bill.usd:,.4f}")])
    if seen.attempt > 1:
        print(f"note: of {seen.attempt} attempts; that all of them are in it is not documented: docs/runs.md", file=sys.stderr)
    print(f"prices: {seen.run.deployment.region}, {bill.source}; requests to S3 and storage come on top: docs/costs.md")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=up_to(MOST_RUNS), default=20, metavar="N", help="so many, the latest ones (default: 20)")
    parser.add_argument("--json", action="store_true", help="the same for a machine (default: a table)")
    parser.set_defaults(run=_runs)


def _runs(flags: argparse.Namespace) -> None:
    from bootstrap.console import Column, print_json, print_table
    from bootstrap.follow import observe
    from bootstrap.run import architecture_of, list_runs
    from bootstrap.submit import find_deployment
    from bootstrap.telling import HEADINGS, as_json, row_of

    deployment = find_deployment(flags.environment, region=flags.region)
    architecture = architecture_of(deployment)
    moments = [observe(listed.run, architecture) for listed in list_runs(deployment)[: flags.limit]]
    if flags.json:
        print_json([as_json(moment) for moment in moments])
    else:
        print_table([Column(name, name in RIGHT, STATES) for name in HEADINGS], map(row_of, moments))


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", metavar="RUN", help="a run's id, as submit prints it, or its name: the latest one of it")


def _find(flags: argparse.Namespace) -> Run:
    from bootstrap.run import find_run
    from bootstrap.submit import find_deployment

    return find_run(find_deployment(flags.environment, region=flags.region), flags.which)


def _seen(flags: argparse.Namespace) -> Seen:
    from bootstrap.run import look

    return look(_find(flags))
