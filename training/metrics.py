"""Measures of multi-label tagging, with bootstrap intervals over projects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from duibiao.data.bootstrap import Estimate, Weights, estimate, resample
from duibiao.data.taxonomy import LANGUAGES, Taxonomy

Labels = NDArray[np.bool_]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """Truth, scores and decisions for ``n`` proposals and ``k`` labels (gate first)."""

    truth: Labels
    scores: Matrix
    decisions: Labels
    needs_review: Labels
    languages: tuple[str, ...]
    projects: tuple[str, ...]

    def rows(self, mask: NDArray[np.bool_]) -> Predictions:
        """The proposals where ``mask`` is true."""
        pick = np.flatnonzero(mask)
        return Predictions(
            self.truth[pick], self.scores[pick], self.decisions[pick], self.needs_review[pick],
            tuple(self.languages[i] for i in pick), tuple(self.projects[i] for i in pick),
        )  # fmt: skip


def f1_from_counts(tp: Weights, fp: Weights, fn: Weights) -> Weights:
    """F1, 0 where nothing is true and nothing predicted."""
    return np.divide(2 * tp, 2 * tp + fp + fn, out=np.zeros_like(tp), where=(2 * tp + fp + fn) > 0)


def _macro_ap(truth: Labels, scores: Matrix, weight: Weights | None = None) -> float:
    weighted = truth if weight is None else truth * weight[:, None]
    present = [k for k in range(truth.shape[1]) if weighted[:, k].sum() > 0]
    if not present:
        return float("nan")
    return float(np.mean([average_precision_score(truth[:, k], scores[:, k], sample_weight=weight) for k in present]))


def _micro_ap(truth: Labels, scores: Matrix, weight: Weights | None = None) -> float:
    weights = None if weight is None else np.repeat(weight, truth.shape[1])
    return (
        float(average_precision_score(truth.ravel(), scores.ravel(), sample_weight=weights))
        if truth.any()
        else float("nan")
    )


def measure_group(p: Predictions, columns: slice, draws: int, seed: int) -> dict[str, Estimate]:
    """Micro and macro F1 and average precision over the labels in ``columns``. Macro leaves out labels never true."""
    truth, scores, decided = p.truth[:, columns], p.scores[:, columns], p.decisions[:, columns]
    weights = resample(p.projects, draws, seed)
    present = truth.any(0)
    tp, fp, fn = (weights @ m.astype(np.float64) for m in (truth & decided, ~truth & decided, truth & ~decided))
    micro = f1_from_counts(tp.sum(1), fp.sum(1), fn.sum(1))
    macro = f1_from_counts(tp, fp, fn)[:, present].mean(1) if present.any() else np.full(draws, np.nan)
    few = weights[: max(1, draws // 5)]  # average precision has to be sorted anew for each draw

    def ap(of: Callable[..., float]) -> Estimate:
        return estimate(of(truth, scores), np.array([of(truth, scores, w) for w in few]))

    return {
        "micro_f1": estimate(f1_score(truth, decided, average="micro", zero_division=0), micro),
        "macro_f1": estimate(
            f1_score(truth[:, present], decided[:, present], average="macro", zero_division=0)
            if present.any()
            else np.nan,
            macro,
        ),
        "micro_ap": ap(_micro_ap),
        "macro_ap": ap(_macro_ap),
    }


def measure_labels(p: Predictions, taxonomy: Taxonomy) -> dict[str, dict[str, float]]:
    """Precision, recall, F1, average precision and counts of each label."""
    precision, recall, f1, positives = precision_recall_fscore_support(
        p.truth, p.decisions, average=None, zero_division=0
    )
    return {
        label_id: {
            "positives": int(positives[k]),
            "assigned": int(p.decisions[:, k].sum()),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "ap": float(average_precision_score(p.truth[:, k], p.scores[:, k])) if positives[k] else float("nan"),
        }
        for k, label_id in enumerate(taxonomy.label_ids)
    }


def measure(p: Predictions, taxonomy: Taxonomy, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Everything for one set of proposals: gate, domains, supports, review, labels."""
    domains = slice(1, 1 + len(taxonomy.domains))
    weights = resample(p.projects, draws, seed)
    right = (p.truth[:, 0] == p.decisions[:, 0]).astype(np.float64)
    wrong_row = (p.truth != p.decisions).any(1)
    return {
        "proposals": len(p.projects),
        "projects": len(set(p.projects)),
        "gate_accuracy": estimate(right.mean(), weights @ right / weights.sum(1)),
        "domains": measure_group(p, domains, draws, seed),
        "supports": measure_group(p, slice(domains.stop, None), draws, seed),
        "review": {
            "marked": float(p.needs_review.mean()),
            "wrong_rows": float(wrong_row.mean()),
            "wrong_rows_marked": float(p.needs_review[wrong_row].mean()) if wrong_row.any() else float("nan"),
            "wrong_rows_among_unmarked": float(wrong_row[~p.needs_review].mean())
            if (~p.needs_review).any()
            else float("nan"),
        },
        "labels": measure_labels(p, taxonomy),
    }


def measure_by_language(p: Predictions, taxonomy: Taxonomy, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """:func:`measure` for all proposals and for each language that occurs."""
    result = {"all": measure(p, taxonomy, draws, seed)}
    for language in LANGUAGES:
        mask = np.array([code == language for code in p.languages])
        if mask.any():
            result[language] = measure(p.rows(mask), taxonomy, draws, seed)
    return result
