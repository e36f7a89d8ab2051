"""Thresholds and the review margin, chosen on validation data.

One threshold for the gate, one for all domains, one for all support areas: thresholds tuned label by label gain on
validation and lose on test where positives are few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from duibiao.data.taxonomy import Taxonomy

_GRID = np.round(np.arange(0.10, 0.81, 0.02), 2)

Matrix = NDArray[np.float32]
Labels = NDArray[np.bool_]


def decide(scores: Matrix, thresholds: Matrix) -> Labels:
    """Decisions ``[n, k]`` from scores: at or above threshold, and nothing where the gate (column 0) is shut.

    The exported graph decides by the same rule; this is for scores that come from no graph (the baseline, validation).
    """
    over = scores >= thresholds
    return over & over[:, :1]


def choose_thresholds(truth: Labels, scores: Matrix, taxonomy: Taxonomy) -> Matrix:
    """Thresholds ``[k]``: gate by accuracy, domains and supports by micro-F1 with the gate in force."""
    domains = slice(1, 1 + len(taxonomy.domains))
    supports = slice(domains.stop, None)
    k = scores.shape[1]
    thresholds = np.full(k, 0.5, dtype=np.float32)
    thresholds[0] = _plateau([float(((scores[:, 0] >= t) == truth[:, 0]).mean()) for t in _GRID])
    for group in (domains, supports):

        def quality(t: float, group: slice = group) -> float:
            tried = thresholds.copy()
            tried[group] = t
            return float(f1_score(truth[:, group], decide(scores, tried)[:, group], average="micro", zero_division=0))

        thresholds[group] = _plateau([quality(t) for t in _GRID])
    return thresholds


def _plateau(qualities: list[float]) -> float:
    """Middle of the thresholds that are within 0.005 of the best: the one that moves least on new data."""
    near_best = [t for t, q in zip(_GRID, qualities, strict=True) if q >= max(qualities) - 0.005]
    return float(near_best[len(near_best) // 2])


def review_flags(scores: Matrix, thresholds: Matrix, margin: float) -> Labels:
    """Rows ``[n]`` that a person should look at; the rule that the exported graph applies to readable texts.

    The gate is near its threshold; or it is open and a label is near its own, or no label at all is set; or it is shut
    although a label stands clearly above its own.
    """
    gap = scores - thresholds
    near = np.abs(gap) < margin
    is_open = gap[:, 0] >= 0
    labels_near = near[:, 1:].any(1)
    none_set = ~(gap[:, 1:] >= 0).any(1)
    contradiction = (gap[:, 1:] >= margin).any(1)
    flags: Labels = near[:, 0] | np.where(is_open, labels_near | none_set, contradiction)
    return flags


def choose_margin(truth: Labels, scores: Matrix, thresholds: Matrix, recall: float) -> float:
    """Smallest margin that marks ``recall`` of the rows with a wrong decision for review (0.5 if none does)."""
    wrong = (decide(scores, thresholds) != truth).any(1)
    for margin in np.round(np.arange(0.0, 0.5, 0.01), 2):
        if not wrong.any() or review_flags(scores, thresholds, float(margin))[wrong].mean() >= recall:
            return float(margin)
    return 0.5
