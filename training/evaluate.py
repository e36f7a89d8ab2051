"""Evaluation of the served path: the bundle itself tags the records, then the measures are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from duibiao.data.records import Proposal
from duibiao.data.taxonomy import Language, Taxonomy
from duibiao.tagger import Tagger
from duibiao.training.metrics import Predictions, measure_by_language
from duibiao.training.thresholds import decide, review_flags


@dataclass(frozen=True)
class Evaluation:
    """Measures of one tagger on one file by language (``all``, ``zh``, ``en``); see ``metrics.measure``."""

    name: str
    data: str
    measures: dict[str, Any]


def _predictions(
    proposals: Sequence[Proposal],
    taxonomy: Taxonomy,
    scores: NDArray[np.float32],
    decisions: NDArray[np.bool_],
    review: NDArray[np.bool_],
) -> Predictions:
    return Predictions(
        truth=np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals], dtype=bool),
        scores=scores,
        decisions=decisions,
        needs_review=review,
        languages=tuple(p.lang for p in proposals),
        projects=tuple(p.project for p in proposals),
    )


def evaluate(
    tagger: Tagger,
    proposals: Sequence[Proposal],
    data: str,
    *,
    draws: int = 1000,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Tag ``proposals`` with the bundle and measure; ``advance`` is told how many were done."""
    parts = []
    for start in range(0, len(proposals), 64):
        chunk = proposals[start : start + 64]
        parts.append(tagger.output([p.text for p in chunk]))
        advance(len(chunk))
    joined = type(parts[0]).join(parts)
    predictions = _predictions(proposals, tagger.taxonomy, joined.probabilities, joined.tags, joined.needs_review)
    return Evaluation(
        f"duibiao {tagger.bundle.manifest.model_version}",
        data,
        measure_by_language(predictions, tagger.taxonomy, draws),
    )


def evaluate_scores(
    name: str, scores: NDArray[np.float32], thresholds: NDArray[np.float32], margin: float,
    proposals: Sequence[Proposal], taxonomy: Taxonomy, data: str, *, draws: int = 1000,
) -> Evaluation:  # fmt: skip
    """The same measures for scores ``[n, k]`` that come from elsewhere, such as the baseline's."""
    decisions, review = decide(scores, thresholds), review_flags(scores, thresholds, margin)
    predictions = _predictions(proposals, taxonomy, scores, decisions, review)
    return Evaluation(name, data, measure_by_language(predictions, taxonomy, draws))


_MEASURES = tuple((g, m) for g in ("domains", "supports") for m in ("micro_f1", "macro_f1", "micro_ap", "macro_ap"))


def summary_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """(measure, all, zh, en) as text, for the terminal and for Markdown."""
    parts = [evaluation.measures.get(part) for part in ("all", "zh", "en")]

    def row(name: str, *path: str) -> tuple[str, ...]:
        cells = []
        for part in parts:
            value: Any = part
            for key in path:
                value = value and value[key]
            cells.append("–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value))
        return (name, *cells)

    return [
        row("proposals", "proposals"),
        row("gate accuracy", "gate_accuracy"),
        *(row(f"{group} {name.replace('_', ' ')}", group, name) for group, name in _MEASURES),
        row("marked for review", "review", "marked"),
        row("with a wrong decision", "review", "wrong_rows"),
        row("… of these marked", "review", "wrong_rows_marked"),
    ]


def print_summary(evaluations: Sequence[Evaluation], console: Console) -> None:
    """One table per evaluation."""
    for evaluation in evaluations:
        table = Table(
            "measure", "all", "zh", "en", title=f"{evaluation.name} on {evaluation.data}", title_justify="left"
        )
        for row in summary_rows(evaluation):
            table.add_row(*row)
        console.print(table)


def print_labels(evaluation: Evaluation, taxonomy: Taxonomy, language: Language, console: Console) -> None:
    """Per label: counts and F1, all and by language."""
    table = Table("label", "positives", "assigned", "precision", "recall", "F1", "F1 zh", "F1 en", "AP")
    parts = evaluation.measures
    for label in taxonomy.labels:
        row = parts["all"]["labels"][label.id]
        by_language = [
            f"{parts[code]['labels'][label.id]['f1']:.2f}" if code in parts else "–" for code in ("zh", "en")
        ]
        table.add_row(
            label.name[language],
            str(row["positives"]),
            str(row["assigned"]),
            *(f"{row[k]:.2f}" for k in ("precision", "recall", "f1")),
            *by_language,
            f"{row['ap']:.2f}",
        )
    console.print(table)


def verdict(model: Evaluation, baseline: Evaluation) -> str:
    """One honest line: whether the model beats the baseline on the same data in micro-F1, and where it does not."""
    lost, gaps = [], []
    for part in (p for p in ("all", "zh", "en") if p in model.measures):
        for group in ("domains", "supports"):
            gap = model.measures[part][group]["micro_f1"].value - baseline.measures[part][group]["micro_f1"].value
            name = group if part == "all" else f"{group} {part}"
            gaps.append(f"{name} {gap:+.3f}")
            if gap <= 0:
                lost.append(name)
    said = f"does NOT beat TF-IDF everywhere: not on {', '.join(lost)}" if lost else "beats TF-IDF"
    return f"On {model.data} the model {said} (micro-F1 difference: {', '.join(gaps)})."
