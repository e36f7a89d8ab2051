"""Bootstrap intervals over projects: versions of one project stand or fall together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.value != self.value:  # NaN
            return "–"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resample(projects: Sequence[str], draws: int, seed: int) -> Weights:
    """How often each row is in each bootstrap draw of whole projects, ``[draws, n]``."""
    names, index = np.unique(np.array(projects, dtype=object).astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, index].astype(np.float64)


def estimate(value: float, samples: Weights) -> Estimate:
    """The value with the 2.5th and 97.5th percentile of its bootstrap samples; NaN samples are left out."""
    if np.isnan(samples).all():
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def without_nan(value: Any) -> Any:
    """Estimates → dictionaries, NaN → null, all the way down: what JSON can hold."""
    if isinstance(value, Estimate):
        return without_nan(asdict(value))
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
