"""The whole job: sources → decode → features → pca → sinks → report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from job import contract
from job.config import Command, FeaturizeConfig, FitConfig, ProjectConfig
from job.errors import BadFeatures, RowsLost, TooManyFaults
from job.features.stage import open_network
from job.pca.model import load_model, save_model
from job.pca.moments import Moments
from job.pca.solver import solve
from job.pca.stage import FeatureSet, fold_features, kept_moments, open_features
from job.report.progress import progress
from job.report.summary import Summary, summarise, to_json, versions
from job.session import spark_context
from job.sinks.layout import Results
from job.sinks.stage import Featurizing, Tally, featurize_share, write_missing, write_projections
from job.sinks.tables import rows_in
from job.sources.stage import check_roots, count_images, list_images
from job.tasks import run_tasks, ship_files, sum_of

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass(frozen=True, slots=True)
class Run:
    """What every stage of a run shares: Spark, the results, a folder to stage them in, and the seconds spent so far."""

    sc: SparkContext
    results: Results
    staging: Path
    quiet: bool
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.seconds[stage] = round(monotonic() - started, 3)


def execute(command: Command) -> Summary:
    """Runs the stages that a command asks for, publishes each as it is whole, and returns the summary of the results."""
    results = Results(command.results)
    check(command)
    started = monotonic()
    with results.staging() as staging, spark_context(command.session) as sc:
        run = Run(sc, results, staging, command.session.quiet, {"session": round(monotonic() - started, 3)})
        try:
            if command.featurize:
                featurize(run, command.featurize)
            if command.fit:
                fit(run, command.fit)
            if command.project:
                project(run, command.project)
        finally:
            if (results.root / contract.FEATURES).is_dir() or (results.root / contract.PCA).is_dir():
                results.write_text(contract.SUMMARY, to_json(summarise(results.root)), staging=staging)
    return summarise(results.root)


def check(command: Command) -> None:
    """Raises what can be known to fail before Spark starts and anything is written."""
    Results(command.results).refuse_existing(command.names, overwrite=command.overwrite)
    if command.featurize:
        open_network(command.featurize.model, engine=command.featurize.engine)
        check_roots(command.featurize.source)
    elif command.fit:
        open_features(command.results / contract.FEATURES)
    elif command.project:
        load_model(command.results / contract.PCA)
        open_features(command.project.features or command.results / contract.FEATURES)


def featurize(run: Run, config: FeaturizeConfig) -> None:
    """Features and faults of every image listed, published together. TooManyFaults above the agreed share, once they are."""
    network = open_network(config.model, engine=config.engine)
    for name in (contract.FEATURES, contract.FAULTS):
        (run.staging / name).mkdir()
    with run.timed("listing"):
        listing = list_images(run.sc, config.source, scratch=run.staging)
    plan = Featurizing(config.source.roots[0], network, config.how, run.staging, ship_files(run.sc, network.files))
    counter = sum_of(run.sc, Tally())
    with run.timed("featurize"), progress(listing.images, lambda: counter.value, quiet=run.quiet):
        tallies = run_tasks(run.sc, partial(featurize_share, plan=plan, count=counter.add), listing.shares)
    tally = sum(tallies, Tally())
    write_missing(network, run.staging)
    written = rows_in(run.staging / contract.FEATURES), rows_in(run.staging / contract.FAULTS)
    if sum(written) != listing.images or written != (tally.features, tally.faults.total()):
        raise RowsLost(
            f"{listing.images} images listed, but {written[0]} rows of features and {written[1]} of faults",
            "nothing was published; run again, and report it if it happens twice",
        )
    card = {
        "images": listing.images,
        "features": tally.features,
        "faults": tally.faults.total(),
        "faults_by_reason": dict(tally.faults.most_common()),
        "size_bytes": tally.size,
        "seconds": dict(run.seconds),
        "images_per_second": round(listing.images / max(run.seconds["featurize"], 1e-9), 1),
        "worker_seconds": {step: round(seconds, 3) for step, seconds in tally.seconds.items()},
        "model": network.card,
        "random_weights": network.card.is_random,
        "config": config,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    (run.staging / contract.FEATURES / contract.FEATURIZE_CARD).write_text(to_json(card))
    run.results.publish(run.staging, [contract.FEATURES, contract.FAULTS])
    if config.max_faults.exceeded_by(tally.faults.total(), images=listing.images):
        reason, count = tally.faults.most_common(1)[0]
        raise TooManyFaults(
            f"{tally.faults.total()} of {listing.images} images are faulty, more than --max-faults {config.max_faults};"
            f" {count} of them {reason}",
            f"read {run.results.root / contract.FAULTS}; features of the others are written, and fit can use them",
        )


def fit(run: Run, config: FitConfig) -> None:
    """Principal components of the features in the results, from moments that are kept beside them."""
    features = open_features(run.results.root / contract.FEATURES)
    staged = run.staging / contract.PCA
    staged.mkdir()
    with run.timed("fit"):
        source, moments = _moments(run, features, config, folder=staged / contract.MOMENTS)
        model = solve(moments, components=config.components, standardize=config.standardize, centered=config.centered)
    account = {
        "labels": sorted(config.only_labels) if config.only_labels else None,
        "moments_from": source,
        "explained": float(model.explained_ratio.sum()),
        "explained_ratio": model.explained_ratio[:20].tolist(),
        "seconds": run.seconds["fit"],
        "versions": versions(),
    }
    save_model(replace(model, features_model=features.model), staged, account=account)
    run.results.publish(run.staging, [contract.PCA])


def _moments(run: Run, features: FeatureSet, config: FitConfig, *, folder: Path) -> tuple[str, Moments]:
    """The moments to fit and where they come from: an earlier fit's, else the features themselves. Kept in `folder`."""
    kept = run.results.root / contract.PCA / contract.MOMENTS
    if kept.is_dir():
        run.results.carry_over(kept, folder)
        source = contract.MOMENTS
    else:
        fold_features(run.sc, features, label_cap=config.label_cap, folder=folder, scratch=run.staging)
        source = contract.FEATURES
    if moments := kept_moments(folder, only=config.only_labels):
        return source, moments
    # Too many labels were there to keep each one's moments apart: these labels' features are read again.
    again = run.staging / "only-labels"
    fold_features(run.sc, features, label_cap=0, only=config.only_labels, folder=again, scratch=run.staging)
    moments = kept_moments(again, only=None)
    if not moments or not moments.count:
        raise BadFeatures(
            f"no features with the labels {', '.join(sorted(config.only_labels or ()))}",
            "labels are the names of image folders",
        )
    return contract.FEATURES, moments


def project(run: Run, config: ProjectConfig) -> None:
    """Projections of features, of those in the results or of others that the model never saw."""
    model = load_model(run.results.root / contract.PCA)
    features = open_features(config.features or run.results.root / contract.FEATURES)
    if features.model and model.features_model and features.model != model.features_model:
        raise BadFeatures(
            f"features of network {features.model}, principal components of network {model.features_model}",
            "featurize with the network that the components were fitted on",
        )
    centered = model.centered if config.centered is None else config.centered
    with run.timed("project"):
        write_projections(run.sc, features, model, centered=centered, staging=run.staging)
    card = {
        "rows": features.count,
        "centered": centered,
        "features": config.features,
        "seconds": run.seconds["project"],
        "versions": versions(),
    }
    (run.staging / contract.PROJECTIONS / contract.PROJECT_CARD).write_text(to_json(card))
    run.results.publish(run.staging, [contract.PROJECTIONS, contract.PROJECTIONS_CSV])


def describe_plan(command: Command) -> str:
    """What a command would read and write; lists the images, here and without Spark, and touches nothing."""
    check(command)
    lines = []
    if command.featurize:
        network = open_network(command.featurize.model, engine=command.featurize.engine)
        source = command.featurize.source
        images, size = count_images(source)
        chosen = f", of which the first {source.classes} labels" if source.classes else ""
        lines += [
            f"read     {images:,} images, {size / 1e6:,.1f} MB, under {', '.join(source.roots)}{chosen}",
            f"network  {network.card.backbone} {network.card.digest} on {network.engine}, {network.card.feature_length} features an image",
        ]
    if command.fit:
        lines.append(f"fit      components: {command.fit.components}{', standardized' if command.fit.standardize else ''}")
    replaced = [name for name in command.names if (command.results / name).exists()]
    made = [name for stage, names in _MADE.items() if getattr(command, stage) for name in names]
    lines.append(f"write    {', '.join(made)} under {command.results}")
    if replaced:
        lines.append(f"replace  {', '.join(replaced)}")
    return "\n".join(lines)


_MADE = {
    "featurize": (contract.FEATURES, contract.FAULTS),
    "fit": (contract.PCA,),
    "project": (contract.PROJECTIONS, contract.PROJECTIONS_CSV, contract.SUMMARY),
}
