"""The whole job: sources → decode → features → pca → sinks → report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from pyspark import SparkContext

from job import contract
from job.config import Command, FeaturizeConfig, FitConfig, ProjectConfig
from job.features.stage import open_network
from job.pca.dataset import open_features, open_others
from job.pca.kept import moments_of_each
from job.pca.model import load_model, refuse_other_network, save_model
from job.pca.moments import merge_all
from job.pca.solver import solve
from job.pca.stage import gather_moments
from job.report.plan import check
from job.report.progress import listing_progress, progress, tell
from job.report.standing import ASKED, is_made_of, refuse_others
from job.report.summary import Summary, featurize_account, fit_account, project_account, settings_of, summarise, to_json
from job.session import spark_context
from job.sinks.layout import MADE_OF_FEATURES, ROWS, Target, unfinished
from job.sinks.resume import Before, Resumed, keep_moments, resume
from job.sinks.stage import Featurized, Featurizing, check_rows, featurize_share, remove_strays, write_missing, write_projections
from job.sinks.tally import Tally
from job.sources.listing import share_rests
from job.sources.stage import Listing, list_images
from job.storage import Place, digest_of
from job.tasks import run_tasks, ship_files, sum_of


@dataclass(frozen=True, slots=True)
class Run:
    """What the stages of a run share: Spark, the results, a folder to stage them in, and the seconds spent so far."""

    sc: SparkContext
    results: Target
    staging: Place
    quiet: bool
    overwrite: bool = False
    makes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.seconds[stage] = round(monotonic() - started, 3)

    def has(self, name: str, card: str, config: FitConfig | ProjectConfig, made_from: list[str]) -> bool:
        """The results have just what a stage would make, and nobody asked to replace it."""
        found = not self.overwrite and is_made_of(self.results.root / name / card, config, made_from)
        if found:
            tell(f"{name} is up to date", quiet=self.quiet)
        return found


def execute(command: Command) -> Summary:
    """Runs the stages that a command asks for, publishes each as it is whole, and returns the summary of the results."""
    check(command)
    results, started = command.target, monotonic()
    with results.staging() as staging, spark_context(command.session) as sc:
        refuse_others(command)  # once more, as there is no other run now that could make some
        run = Run(
            sc, results, staging, command.session.quiet, command.overwrite, command.made, {"session": round(monotonic() - started, 3)}
        )
        try:
            if command.featurize:
                featurize(run, command.featurize)
            if command.fit:
                fit(run, command.fit)
            if command.project:
                project(run, command.project)
        finally:
            summary = summarise(results.root)
            if any(summary[stage] for stage in ("featurize", "fit", "project")):
                results.write_text(contract.SUMMARY, to_json(summary), staging=staging)
    return summary


def featurize(run: Run, config: FeaturizeConfig) -> None:
    """Features and faults of every image listed, published together; TooManyFaults above the agreed share, once they are.

    Rows that earlier runs made with the same settings stay: of a run that did not end, and of these results.
    """
    network = open_network(config.model, engine=config.engine)
    settings, staged, found = settings_of(config, network), unfinished(run.results.root), sum_of(run.sc, 0)
    for name in ROWS:
        (staged / name).mkdir(parents=True)
    (staged / ASKED).write_text(to_json({"settings": settings, "config": config}))
    with run.timed("listing"), listing_progress(lambda: found.value, quiet=run.quiet):
        before = Before.under(run.results.root)
        listing = list_images(run.sc, config.source, scratch=run.staging, count=found.add, here_until=before.here_until)
        resumed = resume(run.sc, listing, before, settings=settings, keep_removed=config.keep_removed, scratch=run.staging, staged=staged)
    if resumed.complete:
        tally = resumed.tally
        tell(f"features are up to date: {tally.images:,} images, all done before", quiet=run.quiet)
        run.results.forget_unfinished()
    else:
        plan = Featurizing(
            config.source.roots[0], network, config.how, config.precision, settings, staged, ship_files(run.sc, network.files)
        )
        tally = featurize_left(run, resumed, plan)
        spark = {"master": run.sc.master, "slots": run.sc.defaultParallelism}
        account = featurize_account(tally, resumed=resumed, network=network, config=config, seconds=run.seconds, spark=spark)
        (staged / contract.FEATURES / contract.FEATURIZE_CARD).write_text(to_json(account))
        publish_rows(run, resumed, staged, frozen=config.freeze_model)
    config.max_faults.check(tally.faults, images=tally.images)


def featurize_left(run: Run, resumed: Resumed, plan: Featurizing) -> Tally:
    """Featurizes what is left to do, and returns the tally of all rows."""
    counter, stayed = sum_of(run.sc, Tally()), resumed.stayed
    total, file = resumed.left.images + stayed.images, run.results.root / contract.STAGING / contract.PROGRESS
    with run.timed("featurize"), progress(total, lambda: stayed + counter.value, quiet=run.quiet, before=stayed.images, file=file):
        done = featurize_shares(run.sc, resumed.left, plan, count=counter.add)
    remove_strays(plan.staged, files={file for each in done for file in each.files})
    write_missing(plan, stay=resumed.files)
    tally = sum((each.tally for each in done), resumed.rewritten)
    check_rows(tally, images=resumed.left.images + resumed.rewritten.images, staged=plan.staged)
    return tally + resumed.tally


def featurize_shares(sc: SparkContext, listing: Listing, plan: Featurizing, *, count: Callable[[Tally], None]) -> list[Featurized]:
    """Featurizes a listing in rounds: what tasks leave when their time is over is shared out in the next."""
    slots, done = sc.defaultParallelism, list[Featurized]()
    shares = listing.shares(slots=slots)
    while shares:
        latest = run_tasks(sc, partial(featurize_share, plan=plan, count=count), shares)
        done += latest
        shares = share_rests(shares, [each.rest for each in latest], slots=slots, first=shares[-1].index + 1)
    return done


def publish_rows(run: Run, resumed: Resumed, staged: Place, *, frozen: bool) -> None:
    """Publishes features and faults; principal components stay where they are `frozen`, else only the moments that are still of use."""
    spare = [contract.PCA] if frozen else []
    stale = [name for name in run.results.existing(MADE_OF_FEATURES) if name not in (*spare, *run.makes)]
    if resumed.removed:
        tell(f"{resumed.removed:,} rows of images that are gone are left out; --keep-removed keeps them", quiet=run.quiet)
    if stale:
        tell(f"{', '.join(stale)}: of the features before, so removed", quiet=run.quiet)
    kept = () if frozen else keep_moments(run.results.root, staged, resumed.files)
    run.results.publish(staged, [*ROWS, *kept], stay=resumed.files, spare=spare)


def fit(run: Run, config: FitConfig) -> None:
    """Principal components of the features in the results, from moments that are kept beside them and in other results."""
    features = open_features(run.results.root / contract.FEATURES)
    others = open_others(config.others, features, only=config.only_labels)
    made_from = [features.fingerprint, *(other.features for other in others)]
    if run.has(contract.PCA, contract.PCA_CARD, config, made_from):
        return
    staged, kept = run.staging / contract.PCA, run.results.root / contract.PCA / contract.MOMENTS
    staged.mkdir()
    with run.timed("fit"):
        source, own = gather_moments(
            run.sc, features, kept=kept, folder=staged / contract.MOMENTS, scratch=run.staging,
            label_cap=config.label_cap, only=config.only_labels,
        )  # fmt: skip
        moments = moments_of_each([own, *others], only=config.only_labels)
        merged = merge_all(moments, length=features.length)
        model = solve(merged, components=config.components, standardize=config.standardize, centered=config.centered)
        model = replace(model, features_model=features.model)
    account = fit_account(model, config=config, made_from=made_from, source=source, moments=moments, seconds=run.seconds["fit"])
    save_model(model, staged, account=account)
    run.results.publish(run.staging, [contract.PCA])


def project(run: Run, config: ProjectConfig) -> None:
    """Projections of features: of those in the results, or of others that the model never saw."""
    model = load_model(run.results.root / contract.PCA)
    features = open_features(config.features or run.results.root / contract.FEATURES)
    refuse_other_network(model, features.model)
    made_from = [features.fingerprint, digest_of(run.results.root / contract.PCA / contract.PCA_CARD)]
    if run.has(contract.PROJECTIONS, contract.PROJECT_CARD, config, made_from):
        return
    centered = model.centered if config.centered is None else config.centered
    with run.timed("project"):
        write_projections(run.sc, features, model, centered=centered, staging=run.staging)
    account = project_account(features, centered=centered, config=config, made_from=made_from, seconds=run.seconds["project"])
    (run.staging / contract.PROJECTIONS / contract.PROJECT_CARD).write_text(to_json(account))
    run.results.publish(run.staging, [contract.PROJECTIONS, contract.PROJECTIONS_CSV])
