"""Counts of what is in the data, for reading and for plots."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

from .errors import RecordError
from .lint import PROPOSALS, read_splits
from .records import Proposal
from .review import FILE as REVIEWS
from .review import count, read_reviews
from .taxonomy import LANGUAGES, Taxonomy

LENGTHS = (50, 100, 200, 400, 800, 1600, 3200)
"""Upper bounds of the length classes, in characters; the last class is open."""


@dataclass(frozen=True)
class Description:
    """Tables as ``{column: {row: value}}``."""

    records: dict[str, dict[str, Any]]
    """Counts of each split and language."""
    positives: dict[str, dict[str, int]]
    """Positives of each label, by part and language."""
    traps: dict[str, dict[str, int]]
    """Texts that mention a label without serving it, by part and language."""
    together: dict[str, dict[str, int]]
    """Texts that have both labels; a label with itself counts its positives."""
    lengths: dict[str, dict[str, int]]
    """Texts of each length class, by part and language; only texts that are here."""
    styles: dict[str, dict[str, int]]
    """Texts of each style, by part and language."""
    totals: dict[str, int]
    """Records, projects, projects in both languages, records that are not aligned; authored and real."""


def _row(chosen: Sequence[Proposal]) -> dict[str, Any]:
    lengths = sorted(len(p.text) for p in chosen if p.has_text)
    return {
        "records": len(chosen),
        "projects": len({p.project for p in chosen}),
        "not aligned": sum(not p.aligned for p in chosen),
        "traps": sum(bool(p.traps) for p in chosen),
        "labels each": round(sum(len(p.labels) for p in chosen) / len(chosen), 2),
        "median length": int(statistics.median(lengths)) if lengths else "–",
        "longest": lengths[-1] if lengths else "–",
    }


def _length_class(length: int) -> str:
    below = next((bound for bound in LENGTHS if length < bound), None)
    return f"< {below:,}" if below else f"≥ {LENGTHS[-1]:,}"


def _totals(part: str, chosen: Sequence[Proposal]) -> dict[str, int]:
    languages: dict[str, set[str]] = {}
    for proposal in chosen:
        languages.setdefault(proposal.project, set()).add(proposal.lang)
    return {
        f"{part}: records": len(chosen),
        f"{part}: projects or sources": len(languages),
        f"{part}: not aligned": sum(not p.aligned for p in chosen),
    } | (
        {f"{part}: projects in both languages": sum(len(x) == 2 for x in languages.values())}
        if part == PROPOSALS
        else {}
    )


def _together(proposals: Iterable[Proposal], ids: Sequence[str]) -> dict[str, dict[str, int]]:
    together = {a: dict.fromkeys(ids, 0) for a in ids}
    for proposal in proposals:
        for a, b in product(proposal.labels, repeat=2):
            together[a][b] += 1
    return together


def _styles(parts: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    names = sorted({name for counted in parts.values() for name in counted})
    return {column: {name: counted[name] for name in names} for column, counted in parts.items()}


def describe(folder: Path, taxonomy: Taxonomy) -> Description:
    """Describe the splits in ``folder``; broken records are left to the linter."""
    if not (folder / PROPOSALS).is_dir():
        raise RecordError(f"{folder}: no folder '{PROPOSALS}'")
    splits, _ = read_splits(folder, taxonomy)
    ids = (*taxonomy.domain_ids, *taxonomy.support_ids)
    found = Description({}, {}, {}, _together(chain(*splits.values()), ids), {}, {}, {})
    parts: dict[str, list[Proposal]] = {}
    styles: dict[str, Counter[str]] = {}
    for name, proposals in splits.items():
        parts.setdefault(name.split("/")[0], []).extend(proposals)
        for language in LANGUAGES:
            if chosen := [p for p in proposals if p.lang == language]:
                found.records[f"{name} {language}"] = _row(chosen)
    for (part, proposals), language in product(parts.items(), LANGUAGES):
        chosen = [p for p in proposals if p.lang == language]
        column = f"{part} {language}"
        counts = Counter(label for p in chosen for label in p.labels)
        found.positives[column] = {i: counts[i] for i in ids}
        if part == PROPOSALS:
            mentioned = Counter(label for p in chosen for label in p.traps)
            found.traps[column] = {i: mentioned[i] for i in ids}
            lengths = Counter(_length_class(len(p.text)) for p in chosen if p.has_text)
            found.lengths[column] = {c: lengths[c] for c in map(_length_class, (*(b - 1 for b in LENGTHS), 10**9))}
            styles[column] = Counter(p.style or "–" for p in chosen)
    found.styles.update(_styles(styles))
    for part, proposals in parts.items():
        found.totals.update(_totals(part, proposals))
    if (folder / REVIEWS).exists():
        found.totals.update(count(read_reviews(folder / REVIEWS, taxonomy), (p.id for p in parts[PROPOSALS])))
    return found
