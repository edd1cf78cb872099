"""How many images a run would read, and their bytes: found by the job's own listing, of what the job's own command line names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bootstrap.errors import BootstrapError, UsageError
from job.cli import parse
from job.errors import JobError
from job.errors import UsageError as JobUsageError
from job.sources.stage import count_so_far


@dataclass(frozen=True, slots=True)
class Census:
    """images, and their mean size in bytes."""

    images: int
    image_bytes: float


def take_census(arguments: Sequence[str], *, image_bytes: float | None = None) -> Iterator[Census]:
    """Of the images that the job would list with these arguments: of those found so far, now and then, and of all at the end.

    image_bytes  their mean size, where that is known better than by listing
    UsageError for arguments that the job would not take. BootstrapError where there are no images, they cannot be listed, or their sizes
    are not known: a manifest need not say them.
    """
    images = 0
    try:
        featurize = parse(arguments).featurize
        for images, size in count_so_far(featurize.source) if featurize else ():
            if images:
                yield Census(images, image_bytes or _mean(images, size))
    except JobUsageError as error:
        raise UsageError(f"the job's arguments: {error}", error.hint) from error
    except JobError as error:
        raise BootstrapError(str(error), error.hint) from error
    if not images:
        raise BootstrapError("there are no images to estimate the cost of", "upload some, or name their folder with --images")


def _mean(images: int, size: int | None) -> float:
    if size is None:
        raise BootstrapError(
            "the list does not say how large its images are", "give it a column size, or their mean size to estimate: --image-bytes B"
        )
    return max(1, size) / images
