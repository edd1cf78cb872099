"""Moments that a fit keeps for later ones: a folder of them, its index, and what can be had from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from job.contract import MOMENTS, PCA, PCA_CARD
from job.errors import BadFeatures
from job.pca.moments import Moments, load_folded, load_moments, merge_all
from job.storage import Place

POOLED = "pooled.npy"
INDEX = "labels.json"

Label = str | None
Content = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of moments: of all rows, and of each label's where there were not too many labels.

    features  fingerprint of the features that they are of
    model     digest of the network, "" where the features did not say
    names     labels and the files of their moments, None where there were too many
    contents  of each file of the features what changes when it becomes another
    """

    folder: Place
    features: str
    model: str
    names: dict[Label, str] | None
    contents: tuple[Content, ...]

    def files(self, only: frozenset[str]) -> list[Place]:
        """Files of these labels, as far as they are here. BadFeatures where labels were too many to keep apart."""
        if self.names is None:
            raise BadFeatures(
                f"{self.folder} keeps the moments of all its labels together, as they were more than --label-cap",
                "fit there again with a larger one, or drop --only-labels",
            )
        return [self.folder / self.names[label] for label in sorted(only.intersection(self.names))]

    def moments(self, only: frozenset[str] | None = None) -> Moments:
        """Moments of all rows, or of those with a label in `only`, which may be none. BadFeatures as of `files`."""
        pooled = load_moments(self.folder / POOLED)
        if only is None:
            return pooled
        return merge_all((load_folded(file).total for file in self.files(only)), length=len(pooled.mean))


def write_index(kept: Kept) -> None:
    """Says in the folder itself what its moments are of."""
    names = None if kept.names is None else list(kept.names.items())  # a label may be null, which no JSON key is
    said = {"features": kept.features, "model": kept.model, "labels": names, "contents": kept.contents}
    (kept.folder / INDEX).write_text(json.dumps(said) + "\n")


def read_index(folder: Place) -> Kept | None:
    """The moments in `folder`; None where there are none, or where they do not say what they are of."""
    try:
        index = json.loads((folder / INDEX).read_text())
        names = index["labels"]
        contents = tuple(map(tuple, index["contents"]))
        return Kept(folder, index["features"], index["model"], None if names is None else dict(names), contents)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def open_kept(folder: Place) -> Kept:
    """The moments in `folder`, or in the results folder that it is; BadFeatures where there are none."""
    place = folder if (folder / INDEX).exists() else folder / PCA / MOMENTS
    if (place / INDEX).exists() and not place.with_name(PCA_CARD).is_file():
        raise BadFeatures(
            f"no whole fit in {folder}: {place.with_name(PCA_CARD)} is written last", "wait for the fit that writes it, or fit again"
        )
    if kept := read_index(place):
        return kept
    old = (place / INDEX).exists()
    raise BadFeatures(
        f"the moments in {place} do not say of which network they are" if old else f"no moments in {folder}",
        "fit those results again: python -m job fit --results DIR --overwrite",
    )


def moments_of_each(kept: Sequence[Kept], *, only: frozenset[str] | None) -> list[Moments]:
    """Moments of all rows in each of `kept`, or of those with a label in `only`. BadFeatures for a label that none of them has."""
    names = sorted({label for each in kept for label in each.names or () if label is not None})
    if missing := sorted((only or frozenset()).difference(names)):
        shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        raise BadFeatures(f"no features with the label {', '.join(missing)}", f"labels here: {shown or 'none'}")
    return [each.moments(only) for each in kept]
