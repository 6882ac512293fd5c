"""Normalisation that is saved with the policy: Gymnasium's own wrappers, and their statistics in a
file.

A policy trained on normalised observations is worth nothing without the means and variances that it
saw; the file names the features too, so that they are never put on others.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import NormalizeObservation
from gymnasium.wrappers.vector import NormalizeObservation as VectorNormalizeObservation

Normalized = NormalizeObservation | VectorNormalizeObservation


def normalised(env: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Wrap a single or a vector environment so that its observations are normalised.

    Without a path the statistics run along with what is observed; with one they are those of the
    file, and fixed: set `update_running_mean` to let them go on. Raises ValueError for a file of
    other features.
    """
    many = isinstance(env, gymnasium.vector.VectorEnv)
    wrapped: Any = (VectorNormalizeObservation if many else NormalizeObservation)(env)
    if path is not None:
        load(wrapped, path)
        wrapped.update_running_mean = False
    return wrapped


def save(wrapped: Normalized, path: str | os.PathLike[str]) -> None:
    """Write the statistics of a normalised environment to a JSON file: every bit of them."""
    statistics = wrapped.obs_rms
    told = {
        "features": list(wrapped.unwrapped.feature_names),  # type: ignore[union-attr]
        "shape": list(statistics.mean.shape),
        "mean": np.ravel(statistics.mean).tolist(),
        "var": np.ravel(statistics.var).tolist(),
        "count": float(statistics.count),
    }
    Path(path).write_text(json.dumps(told) + "\n")


def load(wrapped: Normalized, path: str | os.PathLike[str]) -> None:
    """Put the statistics of a file on a normalised environment. Raises ValueError for a file of
    other features, or what is none."""
    try:
        told = json.loads(Path(path).read_text())
        features, shape = told["features"], tuple(told["shape"])
        mean, var = (np.reshape(told[name], shape).astype(float) for name in ("mean", "var"))
        count = float(told["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no statistics of observations: {error}") from None
    statistics = wrapped.obs_rms
    names = list(wrapped.unwrapped.feature_names)  # type: ignore[union-attr]
    if features != names or shape != statistics.mean.shape:
        strange = next((name for name in features if name not in names), None)
        raise ValueError(
            f"{path}: statistics of {len(features)} features of shape {shape}, not of these "
            f"{len(names)} of shape {statistics.mean.shape}"
            + (f"; there is no {strange!r} here" if strange else "")
        )
    kind = statistics.mean.dtype
    statistics.mean, statistics.var, statistics.count = mean.astype(kind), var.astype(kind), count
