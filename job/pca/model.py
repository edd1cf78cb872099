"""A fitted PCA: its numbers, its file, and what it does to rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from job.contract import PCA_ARRAYS, PCA_CARD
from job.errors import BadFeatures
from job.storage import Place, fetched, whole

SHARES = (0.80, 0.90, 0.95, 0.99)  # every fit says how many components each needs


@dataclass(frozen=True, slots=True)
class PcaModel:
    """Principal components of `rows` rows of d features.

    components         (k, d) float64, orthonormal rows; the entry of largest magnitude in each is positive
    mean               (d,)   float64
    scale              (d,)   float64; what centred features are divided by: ones unless standardized
    explained_variance (k,)   float64, falling; divided by rows - 1
    explained_ratio    (k,)   float64; of the variance of all d directions
    eigenvalues        (d,)   float64, falling; all of them
    rows               images fitted
    standardized       features were scaled to unit variance
    centered           projections subtract the mean; MLlib's and the notebook's do not
    chosen_by          "count" or "share": how k was chosen
    asked              what --components said
    features_model     digest of the network whose features these are, "" where unknown
    """

    components: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    explained_ratio: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    rows: int
    standardized: bool
    centered: bool
    chosen_by: str
    asked: float
    features_model: str = ""

    @property
    def components_for(self) -> dict[str, int]:
        """The number of components that explain more than 80, 90, 95 and 99 % of the variance."""
        return {f"{share:.0%}": components_for(share, self.eigenvalues) for share in SHARES}

    def project(self, rows: NDArray[np.floating], *, centered: bool | None = None) -> NDArray[np.float64]:
        """Projections (n, k) float64 of `rows` (n, d). `centered` overrules what the model was fitted for."""
        if rows.shape[1] != len(self.mean):
            raise BadFeatures(
                f"features of length {rows.shape[1]}, a model of {len(self.mean)}",
                "project features of the same network",
            )
        directions = self.components / self.scale
        projections: NDArray[np.float64] = rows.astype(np.float64) @ directions.T
        if self.centered if centered is None else centered:
            projections -= directions @ self.mean
        return projections


def components_for(share: float, eigenvalues: NDArray[np.float64]) -> int:
    """The smallest k whose first k eigenvalues sum to strictly more than `share` of all (scikit-learn's rule)."""
    cumulated = np.cumsum(eigenvalues / eigenvalues.sum())
    return min(int(np.searchsorted(cumulated, share, side="right")) + 1, len(eigenvalues))


def save_model(model: PcaModel, folder: Place, *, account: dict[str, Any]) -> None:
    """Writes model.npz and model.json into `folder`; `account` is what else the JSON shall say."""
    arrays = ("components", "mean", "scale", "explained_variance", "explained_ratio", "eigenvalues")
    with whole(folder / PCA_ARRAYS) as half, half.open("wb") as sink:
        np.savez(sink, **{name: getattr(model, name) for name in arrays})
    k, d = model.components.shape
    card = {
        "rows": model.rows,
        "k": k,
        "d": d,
        "chosen_by": model.chosen_by,
        "asked": model.asked,
        "standardized": model.standardized,
        "centered": model.centered,
        "model": model.features_model,
        "components_for": model.components_for,
        **account,
    }
    (folder / PCA_CARD).write_text(json.dumps(card, indent=2) + "\n")


def load_model(folder: Place) -> PcaModel:
    """What save_model wrote. BadFeatures where there is no such model, or not a whole one."""
    try:
        card: dict[str, Any] = json.loads((folder / PCA_CARD).read_text())
        with (
            fetched(folder / PCA_ARRAYS) as here,
            here.open("rb") as file,
            np.load(file) as arrays,
        ):  # np.load of a path leaks it where the file is damaged
            return PcaModel(
                **{name: arrays[name] for name in arrays.files},
                rows=card["rows"],
                standardized=card["standardized"],
                centered=card["centered"],
                chosen_by=card["chosen_by"],
                asked=card["asked"],
                features_model=card["model"],
            )
    except FileNotFoundError as error:
        raise BadFeatures(f"no PCA model in {folder}", "python -m job fit makes one") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise BadFeatures(f"no PCA model in {folder}: {error}", "python -m job fit makes one") from error


def refuse_other_network(model: PcaModel, digest: str) -> None:
    """BadFeatures for features of a network, by its digest, other than the one whose components these are; "" is not known."""
    if digest and model.features_model and digest != model.features_model:
        raise BadFeatures(
            f"features of network {digest}, principal components of network {model.features_model}",
            "featurize with the network that the components were fitted on",
        )
