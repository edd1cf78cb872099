"""The results of a run from S3 to a folder: whole and checked, or not at all, and from where it was broken off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

from bootstrap.aws import client, foreseen
from bootstrap.console import bar
from bootstrap.errors import BootstrapError
from bootstrap.locations import Location
from bootstrap.run import Seen
from bootstrap.verify import Rows, verify_results
from job.contract import STAGING, SUMMARY

HALF = ".verger-fetch"  # in the folder, for as long as it is not whole
CLAIM = "fetch.json"
NO_NAMES = {"", ".", ".."}  # between slashes, where keys have them: paths would leave the folder, or be those of other keys
REQUESTS = 16  # at once
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Object:
    """name: its path below the results. etag: of this version of it, without quotes."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Fetched:
    files: int
    size_bytes: int
    rows: Rows


def fetch(seen: Seen, folder: Path) -> Fetched:
    """Brings what lies in the run's results folder now. BootstrapError where that is not whole, or `folder` holds something else."""
    if not seen.has_ended or not seen.results:
        raise BootstrapError(f"run {seen.run.id} is {seen.state}: its results come at its end", seen.run.follow)
    results, region = seen.results, seen.run.deployment.region
    objects = _list(results, region=region)
    if not objects:
        raise BootstrapError(f"run {seen.run.id} {seen.state} and left nothing in {results}/", seen.run.follow)
    half = _claim(folder, results, objects)
    missing = [each for each in objects if not _is_there(half / each.name, each)]
    _download(results, missing, into=half, region=region)
    rows = verify_results(half)
    _publish(half, folder)
    return Fetched(len(objects), sum(each.size for each in objects), rows)


def _list(results: Location, *, region: str) -> list[Object]:
    """All objects of the results but what a run hides there."""
    with foreseen(f"listing {results}/"):
        pages = client("s3", region=region).get_paginator("list_objects_v2").paginate(Bucket=results.bucket, Prefix=results.prefix)
        found = [each for page in pages for each in page.get("Contents", ())]
    objects = [Object(each["Key"].removeprefix(results.prefix), each["Size"], each["ETag"].strip('"')) for each in found]
    kept = [each for each in objects if each.name and not each.name.endswith("/") and not each.name.startswith(STAGING)]
    if foreign := [each.name for each in kept if not NO_NAMES.isdisjoint(each.name.split("/"))]:
        raise BootstrapError(f"{results}/{foreign[0]} is no file of a run's results", "who has put it there?")
    return kept


def _claim(folder: Path, results: Location, objects: Sequence[Object]) -> Path:
    """A folder inside of `folder` for what is not whole yet, with what an earlier fetch of the same left of it."""
    half = folder / HALF
    claim = json.dumps({"results": str(results), "objects": [asdict(each) for each in objects]})
    if not half.is_dir():
        if folder.is_dir() and any(folder.iterdir()):
            raise BootstrapError(f"{folder} is not empty", "name a new folder")
        half.mkdir(parents=True)
        (half / CLAIM).write_text(claim)
    elif not (half / CLAIM).is_file() or (half / CLAIM).read_text() != claim:
        raise BootstrapError(f"{folder} holds half of another fetch", f"remove {half}, or name a new folder")
    for each in _published(folder, half, objects):
        each.rename(half / each.name)
    return half


def _published(folder: Path, half: Path, objects: Sequence[Object]) -> list[Path]:
    """What lies beside `half` of a fetch that was broken off while it published: whole, and no longer in there. All else is refused."""
    beside = [each for each in folder.iterdir() if each != half]
    for each in beside:
        wanted = {it.name: it for it in objects if it.name.partition("/")[0] == each.name}
        files = [file for file in (each, *each.rglob("*")) if not file.is_dir()]
        found = {file.relative_to(folder).as_posix() for file in files}
        if not found or found != wanted.keys() or not all(_is_there(folder / name, wanted[name]) for name in found):
            raise BootstrapError(f"{each} is no part of these results", f"take it out of {folder}, or name a new folder")
        if (half / each.name).exists():
            raise BootstrapError(f"{each} is there twice, in {half} too", f"take it out of {folder}, or name a new folder")
    return beside


def _is_there(file: Path, wanted: Object) -> bool:
    """A file has its name once it is whole and checked."""
    return file.is_file() and file.stat().st_size == wanted.size


def _download(results: Location, objects: Sequence[Object], *, into: Path, region: str) -> None:
    s3 = client("s3", region=region, connections=REQUESTS)
    with bar(f"fetching {results}", total=sum(each.size for each in objects)) as advance, ThreadPoolExecutor(REQUESTS) as pool:

        def get(wanted: Object) -> None:
            _get(s3, results / wanted.name, wanted, file=into / wanted.name)
            advance(wanted.size)

        for _ in pool.map(get, objects):
            pass


def _get(s3: Any, place: Location, wanted: Object, *, file: Path) -> None:
    """One object, checked: by its checksum, which botocore does where it has one, its size, and its ETag where that is an MD5."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part, digest = file.with_name(f"_{file.name}.part"), md5(usedforsecurity=False)
    with foreseen(f"fetching {place}"), part.open("wb") as sink:
        answer = s3.get_object(Bucket=place.bucket, Key=place.key, IfMatch=wanted.etag, ChecksumMode="ENABLED")
        for block in answer["Body"].iter_chunks(BLOCK):
            sink.write(block)
            digest.update(block)
    size = part.stat().st_size
    if size != wanted.size or (_is_md5(wanted.etag, answer) and digest.hexdigest() != wanted.etag):
        raise BootstrapError(f"{place} came as {size:,} bytes that are not those of the object", "fetch again; what has come well stays")
    part.rename(file)


def _is_md5(etag: str, answer: Mapping[str, Any]) -> bool:
    """Of objects in one part that no key of KMS encrypts ("Object", Amazon S3 API Reference)."""
    return "-" not in etag and not str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")


def _publish(half: Path, folder: Path) -> None:
    """Each dataset by one renaming, the summary last."""
    for each in sorted((each for each in half.iterdir() if each.name != CLAIM), key=lambda each: each.name == SUMMARY):
        each.rename(folder / each.name)
    shutil.rmtree(half)
