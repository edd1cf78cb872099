"""What an operator runs around the job: compile the model, and try everything on pictures made here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from bootstrap.backbones import BACKBONES
from bootstrap.errors import BootstrapError, UsageError, refused_by_system
from bootstrap.estimate import add_estimate
from bootstrap.forecast import add_forecast
from bootstrap.operate import add_runs_verbs
from job.contract import ENVIRONMENT_ARCHIVE, FLATBUFFER
from job.releases import DEFAULT_RELEASE, release_of
from job.unread import is_unread, until_unread

HINT_TARGET = "what the application has, by infra/environments.toml; make environment ENV=dev looks it up"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; results on stdout, diagnostics on stderr; returns the exit code."""
    return until_unread(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    try:
        flags = _parser().parse_args(argv)
        flags.run(flags)
        print(end="", flush=True)  # what cannot be written is said
    except BootstrapError as error:
        return _complain(error)
    except OSError as error:
        if is_unread(error):
            raise
        return _complain(refused_by_system(error))
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _complain(error: BootstrapError) -> int:
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    for line in error.lines:
        print(f"  {line}", file=sys.stderr)
    return error.exit_code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m bootstrap", description="What an operator runs around the job.", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    _add_compile(verbs.add_parser("compile", help="a Keras backbone to a flatbuffer and its model card", allow_abbrev=False))
    _add_pictures(verbs.add_parser("pictures", help="a folder of labelled pictures to try things on", allow_abbrev=False))
    _add_plot(verbs.add_parser("plot", help="a results folder to a PNG: scatter and scree", allow_abbrev=False))
    add_estimate(verbs.add_parser("estimate", help="what a run costs on EMR Serverless, roughly", allow_abbrev=False))
    add_forecast(verbs.add_parser("forecast", help="hours and costs of 1, 10 and 100 million images on many vCPUs", allow_abbrev=False))
    _add_environment(verbs.add_parser("environment", help="the archive of packages that executors unpack", allow_abbrev=False))
    _add_stage(verbs.add_parser("stage", help="a folder of images to S3, and only what is not there yet", allow_abbrev=False))
    _add_doctor(verbs.add_parser("doctor", help="whether a run would find all that it needs, before it costs anything", allow_abbrev=False))
    add_runs_verbs(verbs)
    _add_rehearse(verbs.add_parser("rehearse", help="all of it against a stand-in for AWS on this machine", allow_abbrev=False))
    warm = verbs.add_parser("warm", help="an archive of Spark's classes: local runs start sooner", allow_abbrev=False)
    warm.set_defaults(run=_warm)
    return parser


def _warm(_flags: argparse.Namespace) -> None:
    from bootstrap.warm import share_classes

    print(share_classes())


def _add_rehearse(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--environment", default="dev", metavar="NAME", help="one of infra/environments.toml (default: dev)")
    add("--images", type=Path, metavar="DIR", help="folder of images (default: pictures drawn for it)")
    add("--keep", action="store_true", help="leave its folder: logs, results, the copy that was deployed (default: removed)")
    add("--json", action="store_true", help="the steps for a machine (default: a line each)")
    parser.set_defaults(run=_rehearse)


def _rehearse(flags: argparse.Namespace) -> None:
    from bootstrap.console import print_json
    from bootstrap.rehearsal.rehearse import rehearse

    if flags.images and not flags.images.is_dir():
        raise UsageError(f"--images {flags.images}: no such folder", "name one that is there, or none: then pictures are drawn")
    # As the job names what it reads there; and commands of a rehearsal run elsewhere than here
    images = Path(os.path.abspath(flags.images)) if flags.images else None
    steps = rehearse(flags.environment, images=images, keep_folder=flags.keep)
    if flags.json:
        print_json([asdict(step) for step in steps])
        return
    for step in steps:
        print(f"{step.seconds:6.1f} s  {step.name:26} {step.said}")
    print(f"{sum(step.seconds for step in steps):6.1f} s  in all")


def _add_compile(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--weights",
        default="imagenet",
        help='Keras .h5 file, "imagenet" (Keras\' cache, else a download) or "random:SEED" (default: imagenet)',
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the compiled model (required)")
    add("--backbone", choices=sorted(BACKBONES), default="MobileNetV2", help="network (default: MobileNetV2)")
    add("--alpha", type=float, default=1.0, help="width multiplier, for backbones that have one (default: 1.0)")
    add(
        "--parity-images",
        type=Path,
        metavar="DIR",
        help="real pictures to compare LiteRT with Keras on (default: generated ones only)",
    )
    parser.set_defaults(run=_compile)


def _compile(flags: argparse.Namespace) -> None:
    from bootstrap.compile import Recipe, compile_model

    if not 0 < flags.alpha <= 10:
        raise UsageError(f"--alpha {flags.alpha:g}: a width multiplier is above 0 and at most 10", "1.0 for most weights")
    if flags.parity_images and not flags.parity_images.is_dir():
        raise UsageError(
            f"--parity-images {flags.parity_images}: no such folder", "name one that is there, or none: generated ones will do"
        )
    card = compile_model(Recipe(BACKBONES[flags.backbone], flags.weights, flags.alpha, flags.parity_images), out=flags.out)
    print(
        f"{card.backbone}: {card.feature_length} features, parity error {card.parity_error:.1e} on {card.parity_images} pictures"
        f"{', RANDOM WEIGHTS' if card.is_random else ''}",
        file=sys.stderr,
    )
    print(flags.out / FLATBUFFER)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make (required)")
    add("--count", type=int, default=40, help="pictures a label (default: 40)")
    parser.set_defaults(run=_pictures)


def _pictures(flags: argparse.Namespace) -> None:
    from bootstrap.pictures import make_pictures

    print(f"{make_pictures(flags.out, count=flags.count)} pictures in {flags.out}", file=sys.stderr)


def _add_plot(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--results", type=Path, required=True, metavar="DIR", help="results of a run (required)")
    add("--out", type=Path, required=True, metavar="FILE", help="PNG to write (required)")
    parser.set_defaults(run=_plot)


def _plot(flags: argparse.Namespace) -> None:
    from bootstrap.plot import plot_results

    plot_results(flags.results, out=flags.out)
    print(flags.out)


def _add_environment(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--release", default=DEFAULT_RELEASE.label, metavar="LABEL", help=f"EMR release (default: {DEFAULT_RELEASE.label})")
    add("--architecture", default="arm64", metavar="NAME", help="arm64 or x86_64, as the application's (default: arm64)")
    add("--out", type=Path, default=Path("build/environment"), metavar="DIR", help="folder of environments (default: build/environment)")
    add("--lock", type=Path, metavar="FILE", help="packages, versions and digests (default: the repository's requirements/runtime.txt)")
    add("--json", action="store_true", help="the archive and its card for a machine (default: the archive's path)")
    parser.set_defaults(run=_environment)


def _environment(flags: argparse.Namespace) -> None:
    from bootstrap.console import print_json
    from bootstrap.environment.build import LOCK, Order, build_environment

    try:
        release = release_of(flags.release)
    except ValueError as error:
        raise UsageError(f"--release {error}", HINT_TARGET) from error
    if flags.architecture not in release.architectures:
        raise UsageError(f"--architecture {flags.architecture!r} is none of {', '.join(release.architectures)}", HINT_TARGET)
    if flags.lock and not flags.lock.is_file():
        raise UsageError(f"--lock {flags.lock}: no such file", "make lock writes requirements/*.txt")
    out = flags.out / f"{release.label}-{flags.architecture}"
    with _progress() as say:
        card = build_environment(Order(release, flags.architecture, flags.lock or LOCK), out=out, say=say)
    archive = out / ENVIRONMENT_ARCHIVE
    if flags.json:
        print_json({"archive": str(archive)} | asdict(card))
        return
    print(
        f"{len(card.packages)} packages for {card.release} on {card.architecture}: {card.packed_bytes / 1e6:.1f} MB packed,"
        f" {card.unpacked_bytes / 1e6:.1f} MB unpacked, {sum(card.left_out.values()) / 1e6:.1f} MB left out",
        file=sys.stderr,
    )
    print(archive)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being done, as one line of a terminal that is gone afterwards; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _doing: None
        return
    erase = "\r\x1b[K"
    try:
        yield lambda doing: print(f"{erase}{doing} …", end="", file=sys.stderr, flush=True)
    finally:
        print(erase, end="", file=sys.stderr, flush=True)


def _add_stage(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SRC", help="folder on this machine; what is in it is uploaded (required)")
    add("target", metavar="s3://BUCKET/images/", help="folder in S3 that it is uploaded to (required)")
    add("--region", metavar="REGION", help="AWS region of the bucket (default: the profile's, or AWS_REGION)")
    add("--dry-run", action="store_true", help="say what would be uploaded, and write nothing")
    add("--json", action="store_true", help="the totals for a machine (default: a table)")
    parser.set_defaults(run=_stage)


def _stage(flags: argparse.Namespace) -> None:
    from bootstrap.locations import Location
    from bootstrap.stage import stage

    stage(flags.source, Location.parse(flags.target), region=flags.region, dry=flags.dry_run, as_json=flags.json)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--environment", required=True, metavar="NAME", help="deployed environment, such as dev (required)")
    add("--images", metavar="LOCATION", help="folder in S3 that a run is to read (default: images/ in the environment's bucket)")
    add("--region", metavar="REGION", help="AWS region of the environment (default: the profile's, or AWS_REGION)")
    add("--json", action="store_true", help="the findings for a machine (default: a table)")
    parser.set_defaults(run=_doctor)


def _doctor(flags: argparse.Namespace) -> None:
    from bootstrap.doctor import doctor
    from bootstrap.locations import Location, is_list

    if flags.images and is_list(flags.images):
        raise UsageError(f"--images {flags.images}: doctor looks into folders", "give the folder that the images of the list lie in")
    images = Location.parse(flags.images) if flags.images else None
    doctor(flags.environment, images=images, region=flags.region, as_json=flags.json)
