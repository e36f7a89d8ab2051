"""Labels that are probably wrong: out-of-fold predictions against the labels of record.

Confident learning (Northcutt, Jiang, Chuang, *JAIR* 70, 2021) ranks a label by the self-confidence of a model that has
not seen it. Folds are by project, and the model is the TF-IDF baseline, which makes other mistakes than a transformer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from duibiao.data.errors import RecordError
from duibiao.data.records import Proposal
from duibiao.data.taxonomy import Taxonomy
from duibiao.training.baseline import fit_baseline

FOLDS = 5


@dataclass(frozen=True)
class Suspect:
    """One decision of record, and how far a model without it is surer of the opposite than it usually is."""

    proposal: Proposal
    label: str
    labelled: bool
    doubt: float


def out_of_fold(
    proposals: Sequence[Proposal], truth: NDArray[np.bool_], seed: int = 0, advance: Callable[[], None] = lambda: None
) -> NDArray[np.float32]:
    """Probabilities ``[n, k]`` of each text by a baseline fitted on the folds without its project."""
    if len({p.project for p in proposals}) < FOLDS:
        raise RecordError(f"out-of-fold predictions need texts of at least {FOLDS} projects")
    scores = np.zeros(truth.shape, dtype=np.float32)
    texts, groups = [p.text for p in proposals], [p.project for p in proposals]
    for train, held_out in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(texts, groups=groups):
        model = fit_baseline([texts[i] for i in train], truth[train], seed)
        scores[held_out] = model.predict_proba([texts[i] for i in held_out])
        advance()
    return scores


def suspects(
    proposals: Sequence[Proposal], scores: NDArray[np.float32], truth: NDArray[np.bool_], taxonomy: Taxonomy
) -> list[Suspect]:
    """Every decision, the most doubtful first.

    Doubt is the probability of the opposite decision, less its mean over the texts where that is the decision of
    record: the class threshold of confident learning, which lets rare and frequent labels come up side by side.
    """
    opposite = np.where(truth, 1 - scores, scores)
    doubt = np.full(truth.shape, -1.0)
    for k in range(truth.shape[1]):
        for labelled in (True, False):
            rows, others = truth[:, k] == labelled, truth[:, k] != labelled
            if others.any():
                doubt[rows, k] = opposite[rows, k] - (1 - opposite[others, k]).mean()
    order = np.argsort(-doubt, axis=None, kind="stable")
    return [
        Suspect(proposals[i], taxonomy.label_ids[k], bool(truth[i, k]), float(doubt[i, k]))
        for i, k in zip(*np.unravel_index(order, truth.shape), strict=True)
    ]
