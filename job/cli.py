"""The command line: parse once, at the edge, into one value that checks itself."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from job.config import COMPONENTS, LABEL_CAP, Command, FeaturizeConfig, FitConfig, MaxFaults, ProjectConfig, Session
from job.decode.options import Decoding
from job.errors import Interrupted, JobError, UsageError
from job.sources.listing import ImageSource
from job.sources.readers import location_of, printable
from job.storage import Place, S3Path, place_of
from job.unread import is_unread, until_unread

EXAMPLES = """\
examples:
  python -m job run       --images photos/ --results out/ --model build/model/model.tflite
  python -m job run       --images photos/ --results out/ --model build/model/model.tflite --components 0.95
  python -m job fit       --results out/ --components 50 --overwrite
  python -m job fit       --results new-out/ --with out/
  python -m job project   --results out/ --features other/features --overwrite

exit codes: 0 done, 1 a failure that the message explains, 2 the command line cannot be used, 130 and 143 interrupted,
141 nobody reads what it prints"""


GOES_ON = "the same command goes on from what was done"


def main(argv: Sequence[str] | None = None, *, run: Callable[[Command], None] | None = None) -> int:
    """Runs a command line. Results on stdout, diagnostics on stderr; returns the exit code. `run` is for tests."""
    return until_unread(lambda: _main(argv, run or _run))


def _main(argv: Sequence[str] | None, run: Callable[[Command], None]) -> int:
    try:
        command = parse(argv)
        run(command)
        print(end="", flush=True)  # what cannot be written is said
    except JobError as error:
        return _complain(str(error), error.hint, error.exit_code)
    except OSError as error:
        if is_unread(error):
            raise
        return _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", "", 1)
    except Interrupted as interrupted:
        return _complain("interrupted; nothing half-written is left", GOES_ON, interrupted.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", "", 130)
    return 0


def _run(command: Command) -> None:
    # Imported here: --help and a mistyped flag should not wait for Spark and NumPy.
    from job.pipeline import execute
    from job.report.plan import check, describe
    from job.report.table import row, table
    from job.session import interruptible

    if command.dry_run:
        check(command)
        print(describe(command))
    else:
        summary = interruptible(lambda: execute(command))
        print(table(summary))
        print(row("results", printable(str(command.results))))


def _complain(problem: str, hint: str, exit_code: int) -> int:
    for kind, text in (("error", problem), ("hint", hint)):
        if text:
            print(f"{kind}: {text}".replace("\n", "\\n"), file=sys.stderr)  # one line each, whatever was typed
    return exit_code


def parse(argv: Sequence[str] | None) -> Command:
    """The command that `argv` asks for; UsageError where it asks for nothing sensible."""
    flags = _parser().parse_args(argv)
    verb = flags.verb
    if getattr(flags, "freeze_model", False) and (flags.components is not None or flags.standardize):
        raise UsageError("--freeze-model fits nothing, so --components and --standardize mean nothing", "drop one or the other")
    fits, projects = verb in ("run", "fit") and not getattr(flags, "freeze_model", False), verb in ("run", "project")
    return Command(
        results=_folder(flags.results),
        featurize=_featurize_config(flags) if verb in ("run", "featurize") else None,
        fit=_fit_config(flags) if fits else None,
        project=_project_config(flags) if projects else None,
        overwrite=flags.overwrite,
        dry_run=flags.dry_run,
        session=Session(flags.cores, flags.quiet, flags.verbose),
    )


def _featurize_config(flags: argparse.Namespace) -> FeaturizeConfig:
    source = ImageSource(
        roots=tuple(location_of(location) for location in flags.images),
        include=tuple(flags.include),
        labels_from=flags.labels_from,
        classes=flags.classes,
        limit=flags.limit,
        under=tuple(location_of(location) for location in flags.under),
    )
    how = Decoding(flags.max_bytes, flags.max_pixels, flags.apply_orientation, flags.fast_decode)
    frozen = getattr(flags, "freeze_model", False)
    return FeaturizeConfig(source, _folder(flags.model), flags.engine, how, flags.precision, flags.max_faults, flags.keep_removed, frozen)


def _fit_config(flags: argparse.Namespace) -> FitConfig:
    only = getattr(flags, "only_labels", None)
    others = tuple(_folder(location) for location in getattr(flags, "others", ()))
    return FitConfig(flags.components or COMPONENTS, flags.standardize, not flags.uncentered_projection, only, flags.label_cap, others)


def _project_config(flags: argparse.Namespace) -> ProjectConfig:
    features = getattr(flags, "features", None)
    centered = False if flags.uncentered_projection else None
    return ProjectConfig(None if features is None else _folder(features), centered)


def _folder(location: str) -> Place:
    """The place that a location means; UsageError where libraries could not open it."""
    path = location_of(location)
    if printable(path) != path:
        raise UsageError(f"{printable(path)}: a name that is not UTF-8", "only images may have such names")
    place = place_of(path)
    if isinstance(place, S3Path) and not place.key:
        raise UsageError(f"{place} is a whole bucket", f"name a folder in it, such as {place}/results/run-1")
    return place


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises: main() has the one place where errors are printed."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m job",
        description="Features and principal components of folders of images, on Spark.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for verb, does, groups in (
        ("run", "featurize, fit, project and summarise", (_add_images, _add_fit, _add_frozen, _add_uncentered)),
        ("featurize", "images to features/ and faults/", (_add_images,)),
        ("fit", "features/ to pca/", (_add_fit, _add_rows, _add_uncentered)),
        ("project", "features/ and pca/ to projections/ and projections.csv/", (_add_features, _add_uncentered)),
    ):
        command = verbs.add_parser(verb, help=does, description=does, allow_abbrev=False)
        command.add_argument("--results", required=True, metavar="DIR", help="folder of the results, here or s3://bucket/folder (required)")
        for add in groups:
            add(command)
        _add_session(command)
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("images").add_argument
    add(
        "--images",
        action="append",
        required=True,
        metavar="DIR",
        help="folder of images, here or s3://bucket/folder; or a list of them: a manifest.parquet with a column path, or the "
        "manifest.json of an S3 Inventory; may be given several times (required)",
    )
    add(
        "--under",
        action="append",
        default=[],
        metavar="DIR",
        help="of such a list only the images in this folder; repeatable (default: all)",
    )
    add("--model", required=True, metavar="FILE", help="compiled network, by python -m bootstrap compile, or a zip of one (required)")
    add(
        "--engine",
        choices=("litert", "keras"),
        default="litert",
        help="what runs the network; keras is the slow reference (default: litert)",
    )
    add(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only files named like this, such as '*.jpg'; repeatable (default: all that are not hidden)",
    )
    add(
        "--labels-from",
        choices=("parent", "none"),
        default="parent",
        help="an image's label: its folder's name, or what a manifest has for it; or none (default: parent)",
    )
    add("--classes", type=_count, metavar="N", help="only the first N labels, in order of name (default: all)")
    add("--limit", type=_count, metavar="N", help="only the first N images, in order of listing (default: all)")
    add(
        "--max-faults",
        type=_max_faults,
        default=MaxFaults(share=1.0),
        metavar="SHARE",
        help="fail above this many faults, a share such as 1%% or a count (default: 100%%)",
    )
    add("--keep-removed", action="store_true", help="keep the rows of images that are gone since an earlier run (default: drop them)")
    add(
        "--max-bytes",
        type=_count,
        default=Decoding().max_bytes,
        metavar="N",
        help="larger files are faults, in bytes (default: %(default)s)",
    )
    add(
        "--max-pixels",
        type=_count,
        default=Decoding().max_pixels,
        metavar="N",
        help="larger pictures are faults, width x height (default: %(default)s)",
    )
    add(
        "--apply-orientation",
        action="store_true",
        help="turn pictures as their EXIF says (default: leave them, as the notebook does)",
    )
    add(
        "--fast-decode",
        action="store_true",
        help="let the JPEG decoder scale down to no less than twice the input size: faster for photographs (default: off)",
    )
    add(
        "--precision",
        choices=("single", "half"),
        default="single",
        help="bits that features keep: float32's 24, or float16's 11, in files of little more than half the size (default: single)",
    )


def _add_fit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("principal components").add_argument
    add(
        "--components",
        type=_components,
        metavar="K",
        help=f"how many, or the share of variance to explain, such as 0.95 (default: {COMPONENTS})",
    )
    add("--standardize", action="store_true", help="scale features to unit variance first (default: off)")
    add(
        "--label-cap",
        type=_natural,
        default=LABEL_CAP,
        metavar="N",
        help="keep moments by label up to so many labels, 13 MB of worker memory each (default: %(default)s)",
    )


def _add_rows(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("images that are fitted").add_argument
    add("--only-labels", type=_labels, metavar="A,B", help="those of these labels only (default: all)")
    add(
        "--with",
        action="append",
        default=[],
        dest="others",
        metavar="DIR",
        help="also those of earlier results, by the moments that fit kept there; no features are read; repeatable (default: none)",
    )


def _add_frozen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--freeze-model", action="store_true", help="project onto the components that are in the results, and fit none (default: fit)"
    )


def _add_uncentered(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--uncentered-projection",
        action="store_true",
        help="do not subtract the mean, as MLlib's multiply (default: subtract it)",
    )


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--features", metavar="DIR", help="features to project, of the same network (default: those in --results)")


def _add_session(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the run").add_argument
    add("--overwrite", action="store_true", help="replace results that were made otherwise; rows made alike stay (default: refuse)")
    add("--dry-run", action="store_true", help="print what would be read and written, and stop")
    add("--cores", type=_count, metavar="N", help="processor cores of a local session (default: all)")
    add("--quiet", action="store_true", help="no progress")
    add("--verbose", action="store_true", help="with Spark's own log")


def _number(text: str, *, whole: str = "") -> float:
    """The number that `text` is; `whole` is what was typed, where that is more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{(whole or text)!r} is no number")
    return value


def _natural(text: str) -> int:
    value = _number(text)
    if value != int(value) or not 0 <= value <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(value)


def _count(text: str) -> int:
    if (value := _natural(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return value


def _components(text: str) -> int | float:
    value = _number(text)
    if 0 < value < 1:
        return value
    if value < 1 or value != int(value) or "." in text:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a count such as 4 nor a share of variance such as 0.95")
    return int(value)


def _max_faults(text: str) -> MaxFaults:
    if text.endswith("%"):
        share = _number(text[:-1], whole=text) / 100
        if not 0 <= share <= 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not between 0% and 100%")
        return MaxFaults(share=share)
    return MaxFaults(count=_natural(text))


def _labels(text: str) -> frozenset[str]:
    labels = frozenset(label for label in text.split(",") if label)
    if not labels:
        raise argparse.ArgumentTypeError(f"{text!r} names no label")
    return labels
