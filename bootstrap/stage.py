"""Brings a folder of images to S3, says meanwhile what it leaves alone and what fails, and at the end what has become of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bootstrap.aws import client, foreseen
from bootstrap.console import Column, bar, print_json, print_table, printable
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.folder import Failure, File, Listing, list_folder
from bootstrap.locations import Location
from bootstrap.upload import REQUESTS, Outcome, Uploader, at_once

FEW = 3  # names in a message
PATIENCE = REQUESTS  # files that S3 refuses one after another, before it is not the files
WHY_ALL = "uploading needs s3:ListBucket, s3:GetObject and s3:PutObject there, and the bucket's key where it has one"


@dataclass(slots=True)
class Totals:
    """What has become of the files so far.

    files     all that there are, with those that could not even be looked at
    bytes     of those uploaded
    failures  in the order in which they were found
    """

    files: int
    uploaded: int = 0
    skipped: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def count(self, file: File, outcome: Outcome) -> None:
        match outcome:
            case Failure():
                self.fail(outcome)
            case "uploaded":
                self.uploaded += 1
                self.bytes += file.size
            case "skipped":
                self.skipped += 1

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        print(f"failed: {printable(failure.name)}: {failure.reason}", file=sys.stderr)


def stage(source: str, target: Location, *, region: str | None, dry: bool, as_json: bool) -> None:
    """Has all files of `source` in `target`, uploads those that are not there, and prints totals.

    BootstrapError where some failed, after all others are there; where S3 or the network fails, at once.
    """
    if not os.path.isdir(source):
        raise UsageError(f"{printable(source)}: no such folder", "stage takes a folder, and uploads what is in it")
    listing = list_folder(source)
    for reason, names in listing.passed.items():
        print(f"note: passed over {len(names)} x {reason}: {_few(names)}", file=sys.stderr)
    if not listing.files and not listing.failures:
        raise BootstrapError(f"{printable(source)}: no file to upload", "images lie in folders, which are their labels")
    totals = _upload(listing, target, region=region, dry=dry)
    _print(totals, dry=dry, as_json=as_json)
    if failures := totals.failures:
        few, again = _few([each.name for each in failures]), "the same command tries them again, and only them"
        hint = WHY_ALL if all(each.by_s3 for each in failures) else again
        raise BootstrapError(f"{len(failures)} of {totals.files} files failed: {few}", hint)


def _upload(listing: Listing, target: Location, *, region: str | None, dry: bool) -> Totals:
    totals, start, refused = Totals(len(listing.files) + len(listing.failures)), time.monotonic(), 0
    for failure in listing.failures:
        totals.fail(failure)
    try:
        with (
            foreseen(f"uploading to s3://{target.bucket}/{target.prefix}"),
            bar("uploading", total=sum(file.size for file in listing.files)) as advance,
        ):
            uploader = Uploader(client("s3", region=region, connections=REQUESTS), target, dry=dry)
            for file, outcome in zip(listing.files, at_once(uploader.bring, listing.files), strict=True):
                totals.count(file, outcome)
                advance(file.size)
                refused = refused + 1 if isinstance(outcome, Failure) and outcome.by_s3 else 0
                if refused == PATIENCE:
                    raise BootstrapError(f"S3 refused {refused} files one after another: {totals.failures[-1].reason}", WHY_ALL)
    except KeyboardInterrupt:
        there = totals.uploaded + totals.skipped
        print(f"note: {there} of {totals.files} files are there; the same command goes on with the others", file=sys.stderr)
        raise
    totals.seconds = time.monotonic() - start
    return totals


def _print(totals: Totals, *, dry: bool, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(totals), "dry_run": dry})
        return
    headings = ("files", "to upload" if dry else "uploaded", "skipped", "failed", "bytes", "seconds")
    counts = (totals.files, totals.uploaded, totals.skipped, len(totals.failures), totals.bytes)
    print_table([Column(each, right=True) for each in headings], [[*(f"{count:,}" for count in counts), f"{totals.seconds:,.1f}"]])


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:FEW])) + (", …" if len(names) > FEW else "")
