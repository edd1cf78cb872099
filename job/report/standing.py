"""What is in the results already, seen from what a command asks for: the same, an earlier state of it, or something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import takewhile
from typing import Any

from job import contract
from job.config import Command, FeaturizeConfig
from job.errors import ResultsExist
from job.features.stage import Network, open_network
from job.report.summary import Summary, plain, read_card, summarise
from job.sources.listing import ImageSource
from job.storage import Place


def settings_of(config: FeaturizeConfig, network: Network) -> str:
    """Stands for all that decides what becomes of an image, beside the image: rows of the same settings need not be made again."""
    said = [network.card.sha256, config.engine, asdict(config.how), config.source.labels_from]
    return sha256(json.dumps(said).encode()).hexdigest()[: contract.DIGEST_LENGTH]


def is_made_of(card: Place, config: Any, fingerprints: Sequence[str]) -> bool:
    """The card of a fit or projection says that it was asked for the same, and was made from what is there now."""
    account = read_card(card) or {}
    return _asks_the_same(account, config) and account.get("made_from") == list(fingerprints)


def refuse_others(command: Command) -> None:
    """ResultsExist where the command would replace what it would not go on with, and was not told that it may."""
    if command.overwrite:
        return
    _, others = standing(command)
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


def _asked_alike(command: Command) -> set[str]:
    """The names of results, there or not, whose stages were asked for as this command does."""
    names, summary = set[str](), summarise(command.results)
    if command.featurize and (account := summary["featurize"]):
        settings = settings_of(command.featurize, open_network(command.featurize.model, engine=command.featurize.engine))
        if account.get("settings") == settings and _covers(command.featurize, account["config"]["source"]):
            names |= {contract.FEATURES, contract.FAULTS}
    if command.fit and _asks_the_same(summary["fit"], command.fit):
        names.add(contract.PCA)
    if command.project and _asks_the_same(summary["project"], command.project):
        names |= {contract.PROJECTIONS, contract.PROJECTIONS_CSV}
    return names


def _covers(config: FeaturizeConfig, source: dict[str, Any]) -> bool:
    """No row would go but of images that are gone."""
    theirs = ImageSource(tuple(source["roots"]), tuple(source["include"]), source["labels_from"], source["classes"], source["limit"])
    return config.keep_removed or config.source.covers(theirs)


def _asks_the_same(account: Summary | None, config: Any) -> bool:
    return account is not None and account.get("config") == plain(config)
