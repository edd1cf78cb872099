"""From moments to principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from job.errors import NotEnoughRows
from job.pca.model import PcaModel, components_for
from job.pca.moments import Moments


def solve(moments: Moments, *, components: int | float, standardize: bool = False, centered: bool = True) -> PcaModel:
    """Principal components of the rows that `moments` has seen, as scikit-learn 1.5+ defines them.

    components   an int is a count; a float in (0, 1) is the share of variance to explain, strictly exceeded
    standardize  divide features by their standard deviation (count in the denominator, as StandardScaler); a constant
                 feature is left as it is

    Deterministic: signs are fixed. NotEnoughRows below two rows, above min(n - 1, d) components, or where no feature varies.
    """
    count, length = moments.count, len(moments.mean)
    if count < 2:
        raise NotEnoughRows(
            f"{count} usable image{'s' * (count != 1)}; principal components need at least 2",
            "add images, or see faults/",
        )
    most = min(count - 1, length)
    if isinstance(components, int) and components > most:
        raise NotEnoughRows(
            f"{components} components asked for; {count} usable images of {length} features have at most {most}",
            "lower --components or add images",
        )
    scale = _scale(moments) if standardize else np.ones(length)
    covariance = moments.scatter / (count - 1) / np.outer(scale, scale)
    _refuse_no_variance(moments, covariance)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # Ascending, and of the order of -eps * largest where there is no variance: noise, not a negative variance.
    eigenvalues = np.clip(eigenvalues[::-1], 0.0, None)
    kept = components if isinstance(components, int) else min(components_for(components, eigenvalues), most)
    return PcaModel(
        components=fix_signs(vectors.T[::-1][:kept]),
        mean=moments.mean,
        scale=scale,
        explained_variance=eigenvalues[:kept],
        explained_ratio=(eigenvalues / eigenvalues.sum())[:kept],
        eigenvalues=eigenvalues,
        rows=count,
        standardized=standardize,
        centered=centered,
        chosen_by="count" if isinstance(components, int) else "share",
        asked=components,
    )


def fix_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with the entry of largest magnitude positive, the first of equals (scikit-learn's svd_flip by rows)."""
    largest = np.argmax(np.abs(components), axis=1)
    return components * np.where(components[np.arange(len(components)), largest] < 0, -1.0, 1.0)[:, None]


def _scale(moments: Moments) -> NDArray[np.float64]:
    """Standard deviations, with 1 for a feature that is constant up to rounding (scikit-learn's _is_constant_feature)."""
    variance = np.diag(moments.scatter) / moments.count
    return np.where(variance <= _rounding(moments), 1.0, np.sqrt(variance))


def _rounding(moments: Moments) -> NDArray[np.float64]:
    """The variance (d,) that rounding alone can give a constant feature: n eps of a variance, (n mean eps)^2."""
    eps = np.finfo(np.float64).eps
    noise: NDArray[np.float64] = (moments.count * moments.mean * eps) ** 2
    return noise


def _refuse_no_variance(moments: Moments, covariance: NDArray[np.float64]) -> None:
    if (np.diag(moments.scatter) / moments.count <= _rounding(moments)).all() or not np.trace(covariance) > 0:
        raise NotEnoughRows(
            f"the features of all {moments.count} usable images are the same; there is no variance to explain",
            "are the images copies of one another?",
        )
