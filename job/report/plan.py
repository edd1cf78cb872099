"""What a command would do, and what can be known to fail before it does anything."""

from __future__ import annotations

from job import contract
from job.config import Command
from job.errors import UsageError
from job.features.stage import open_network
from job.pca.dataset import open_features, open_others
from job.pca.kept import Kept
from job.pca.model import load_model, refuse_other_network
from job.report.standing import refuse_others, standing
from job.sources.readers import printable
from job.sources.stage import check_roots, count_images


def check(command: Command) -> None:
    """Raises what can be known to fail before Spark starts and anything is written."""
    if command.results.exists() and not command.results.is_dir():
        raise UsageError(f"--results {printable(str(command.results))} is a file", "name a folder")
    refuse_others(command)
    if command.featurize:
        if command.featurize.freeze_model:
            network = open_network(command.featurize.model, engine=command.featurize.engine)
            refuse_other_network(load_model(command.results / contract.PCA), network.card.digest)
        open_network(command.featurize.model, engine=command.featurize.engine)
        check_roots(command.featurize.source)
    elif command.fit:
        open_others(command.fit.others, open_features(command.results / contract.FEATURES), only=command.fit.only_labels)
    elif command.project:
        load_model(command.results / contract.PCA)
        open_features(command.project.features or command.results / contract.FEATURES)


def describe(command: Command) -> str:
    """What a command would read and write; lists the images, here and without Spark, and touches nothing."""
    lines = []
    if config := command.featurize:
        network, source = open_network(config.model, engine=config.engine), config.source
        images, size = count_images(source)
        much = "of unknown size" if size is None else f"{size / 1e6:,.1f} MB"
        chosen = f", of which the first {source.classes} labels" if source.classes else ""
        lines += [
            f"read     {images:,} images, {much}, under {', '.join(map(printable, source.under or source.roots))}{chosen}",
            f"network  {network.card.backbone} {network.card.digest} on {config.engine}, {network.card.feature_length} features an image"
            f"{', in half precision' if config.precision == 'half' else ''}",
        ]
    elif command.fit or command.project:
        folder = (command.project and command.project.features) or command.results / contract.FEATURES
        features = open_features(folder)
        lines.append(f"read     {features.count:,} rows of {features.length} features in {printable(str(folder))}")
        if command.fit:
            lines += map(_merged, open_others(command.fit.others, features, only=command.fit.only_labels))
    if command.project and not command.fit:
        model = load_model(command.results / contract.PCA)
        lines.append(f"model    {len(model.components)} components of {model.rows:,} images")
    if command.fit:
        lines.append(f"fit      components: {command.fit.components}{', standardized' if command.fit.standardize else ''}")
    lines.append(f"write    {', '.join([*command.made, contract.SUMMARY])} under {printable(str(command.results))}")
    for verb, names in zip(("go on", "remove"), standing(command), strict=True):
        lines += [f"{verb:8} {', '.join(names)}"] if names else []
    return "\n".join(lines)


def _merged(kept: Kept) -> str:
    return f"merge    moments of {kept.moments().count:,} rows in {printable(str(kept.folder))}"
