"""What is in the results already, seen from what a command asks for: the same, an earlier state of it, or something else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from job import contract
from job.config import Command, FeaturizeConfig
from job.errors import ResultsExist
from job.features.stage import open_network
from job.report.summary import Summary, plain, read_card, settings_of, summarise
from job.sinks.layout import ROWS, UNFINISHED
from job.sources.listing import ImageSource
from job.storage import Place

ASKED = "_asked.json"  # beside rows of a run that did not end: what it was asked for


def is_made_of(card: Place, config: Any, fingerprints: Sequence[str]) -> bool:
    """The card of a fit or projection says that it was asked for the same, and was made from what is there now."""
    account = read_card(card) or {}
    return _asks_the_same(account, config) and account.get("made_from") == list(fingerprints)


def refuse_others(command: Command) -> None:
    """ResultsExist where the command would replace what it would not go on with, and was not told that it may."""
    if command.overwrite:
        return
    _, others = standing(command)
    others += [f"{UNFINISHED} (rows of a run that did not end)"] if unfinished_otherwise(command) else []
    if others:
        raise ResultsExist(
            f"{command.results} already holds {', '.join(others)}, made otherwise than this command would",
            "give --overwrite to replace, or another --results folder",
        )


def standing(command: Command) -> tuple[list[str], list[str]]:
    """Names of results that are there: those that the command goes on from, and those that it replaces."""
    alike = _asked_alike(command)
    there = command.target.existing(command.made if command.made[0] in alike else command.names)
    same = list(takewhile(alike.__contains__, there))
    return same, there[len(same) :]


def unfinished_otherwise(command: Command) -> bool:
    """A run that did not end has left rows that this command would not take up."""
    folder, config = command.results / UNFINISHED, command.featurize
    if not config:
        return False
    have_rows = {file.parent.parent for file in folder.rglob("part-*.parquet")}
    asked = [read_card(file) for file in folder.rglob(ASKED) if file.parent in have_rows]
    return not all(account and _goes_on_from(account, config) for account in asked)


def _asked_alike(command: Command) -> set[str]:
    """The names of results, there or not, whose stages were asked for as this command does."""
    names, summary = set[str](), summarise(command.results)
    if command.featurize and (account := summary["featurize"]):
        names |= set(ROWS) if _goes_on_from(account, command.featurize) else set()
    if command.fit and _asks_the_same(summary["fit"], command.fit):
        names.add(contract.PCA)
    if command.project and _asks_the_same(summary["project"], command.project):
        names |= {contract.PROJECTIONS, contract.PROJECTIONS_CSV}
    return names


def _goes_on_from(account: Summary, config: FeaturizeConfig) -> bool:
    """Rows of a run with this account would stay, but of images that are gone."""
    if account.get("settings") != settings_of(config, open_network(config.model, engine=config.engine)):
        return False
    said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in account["config"]["source"].items()}
    theirs = ImageSource(**said)
    return config.keep_removed or (config.source.covers(theirs) and not account["config"]["keep_removed"])


def _asks_the_same(account: Summary | None, config: Any) -> bool:
    return account is not None and account.get("config") == plain(config)
