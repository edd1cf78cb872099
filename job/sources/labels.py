"""From an image's path to its label."""

from __future__ import annotations

import posixpath
from typing import Literal

LabelsFrom = Literal["parent", "none"]


def label_of(path: str, labels_from: LabelsFrom) -> str | None:
    """The name of the folder that holds the image, as the notebook's element_at(split(path, '/'), -2); or None."""
    if labels_from == "none":
        return None
    return posixpath.basename(posixpath.dirname(path))
