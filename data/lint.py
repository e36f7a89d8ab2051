"""The linter: what must hold of the labelled data, and counts of what is there.

Near-duplicates are pairs of texts whose character 4-gram counts (white space removed, lower case) have a cosine of 0.85
or more; they fail within a split and across splits. Versions of one project share ``project`` and must share a split.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import RecordError
from .records import Proposal, digest, scan_proposals
from .taxonomy import LANGUAGES, Taxonomy

SPLITS = ("train", "validation", "test")
PROPOSALS, REAL, FROZEN, SECOND_PASS = "proposals", "real", "frozen.json", "second-pass.jsonl"
NEAR_DUPLICATE = 0.85
MIN_POSITIVES = 25
"""Least positives of each label in each language, over all splits of the authored proposals."""
MIN_UNALIGNED = 0.15
"""Least share of authored proposals that are not about AI."""


def _read(path: Path, taxonomy: Taxonomy, findings: list[str]) -> list[Proposal]:
    """All sound records of a file, a digest standing for a text kept elsewhere; each broken one becomes a finding."""
    found = list(scan_proposals(path, taxonomy, digests=True))
    findings += [str(f) for f in found if isinstance(f, RecordError)]
    return [f for f in found if isinstance(f, Proposal)]


def read_splits(folder: Path, taxonomy: Taxonomy) -> tuple[dict[str, list[Proposal]], list[str]]:
    """Records of every split file below ``folder`` as ``{"proposals/train": […], …}``, and what is broken in them."""
    findings: list[str] = []
    splits = {}
    for part in (PROPOSALS, REAL):
        for split in SPLITS:
            path = folder / part / f"{split}.jsonl"
            if path.exists() or part == PROPOSALS:
                splits[f"{part}/{split}"] = _read(path, taxonomy, findings)
    return splits, findings


def _duplicate_ids(splits: dict[str, list[Proposal]]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name, proposals in splits.items():
        for proposal in proposals:
            if proposal.id in seen:
                yield f"{name}: id {proposal.id!r} is also in {seen[proposal.id]}"
            seen[proposal.id] = name


def _crossing_projects(splits: dict[str, list[Proposal]]) -> Iterator[str]:
    homes: dict[str, set[str]] = defaultdict(set)
    for name, proposals in splits.items():
        for proposal in proposals:
            homes[proposal.project].add(name)
    for project, names in sorted(homes.items()):
        if len(names) > 1:
            yield f"project {project!r} is in more than one split: {', '.join(sorted(names))}"


def _twins_that_differ(splits: dict[str, list[Proposal]]) -> Iterator[str]:
    by_project: dict[str, list[Proposal]] = defaultdict(list)
    for name, proposals in splits.items():
        if name.startswith(PROPOSALS):
            for proposal in proposals:
                by_project[proposal.project].append(proposal)
    for project, versions in sorted(by_project.items()):
        if len({(p.aligned, frozenset(p.labels)) for p in versions}) > 1:
            yield f"project {project!r}: its versions have different labels"


def _thin_labels(proposals: Sequence[Proposal], taxonomy: Taxonomy) -> Iterator[str]:
    for language in LANGUAGES:
        counts = Counter(label for p in proposals if p.lang == language for label in p.labels)
        for label in (*taxonomy.domain_ids, *taxonomy.support_ids):
            if counts[label] < MIN_POSITIVES:
                yield f"label {label!r} has {counts[label]} positives in {language!r}; {MIN_POSITIVES} are wanted"
    share = sum(not p.aligned for p in proposals) / max(1, len(proposals))
    if share < MIN_UNALIGNED:
        yield f"{share:.1%} of the proposals are not aligned; at least {MIN_UNALIGNED:.0%} are wanted"


def near_duplicates(
    proposals: Sequence[Proposal], threshold: float = NEAR_DUPLICATE
) -> Iterator[tuple[Proposal, Proposal, float]]:
    """Pairs of texts with a 4-gram cosine of at least ``threshold``."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    texts = ["".join(p.text.lower().split()) for p in proposals]
    if not texts:
        return
    grams = CountVectorizer(analyzer="char", ngram_range=(4, 4)).fit_transform(t.ljust(4, "·") for t in texts)
    unit = normalize(grams)
    for start in range(0, len(texts), 500):
        similar = (unit[start : start + 500] @ unit.T).tocoo()
        for i, j, value in zip(similar.row + start, similar.col, similar.data, strict=True):
            if i < j and value >= threshold:
                yield proposals[i], proposals[j], float(value)


def _frozen(folder: Path) -> Iterator[str]:
    """Frozen files must have the digests that were written when they were frozen."""
    for part in (PROPOSALS, REAL):
        record = folder / part / FROZEN
        if not record.exists():
            if part == PROPOSALS:
                yield f"{record} is missing: the test split is not frozen"
            continue
        for name, expected in json.loads(record.read_text(encoding="utf-8")).items():
            path = folder / part / name
            actual = digest(path.read_text(encoding="utf-8")) if path.exists() else "missing"
            if actual != expected:
                yield f"{path} was changed after it was frozen (SHA-256 {actual[:12]}…, frozen as {expected[:12]}…)"


def lint(folder: Path, taxonomy: Taxonomy) -> list[str]:
    """Everything that is wrong with the data in ``folder``, one line each; empty if nothing is."""
    if not (folder / PROPOSALS).is_dir():
        raise RecordError(f"{folder}: no folder '{PROPOSALS}'")
    splits, findings = read_splits(folder, taxonomy)
    authored = [p for name, proposals in splits.items() if name.startswith(PROPOSALS) for p in proposals]
    home = {p.id: name for name, proposals in splits.items() for p in proposals}
    findings += _duplicate_ids(splits)
    findings += _crossing_projects(splits)
    findings += _twins_that_differ(splits)
    findings += _thin_labels(authored, taxonomy)
    findings += (
        f"near-duplicate ({value:.2f}): {a.id} in {home[a.id]} and {b.id} in {home[b.id]}"
        for a, b, value in near_duplicates(authored)
    )
    findings += _frozen(folder)
    return findings


def freeze(folder: Path, names: Sequence[str] = ("test.jsonl",)) -> None:
    """Write the digests of the files that must not change any more."""
    digests = {name: digest((folder / name).read_text(encoding="utf-8")) for name in names}
    (folder / FROZEN).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def statistics(folder: Path, taxonomy: Taxonomy) -> dict[str, dict[str, dict[str, Any]]]:
    """Counts by table, column and row: records per split and language, positives per label, language and part."""
    splits, _ = read_splits(folder, taxonomy)
    columns: dict[str, dict[str, Any]] = {}
    positives: dict[str, dict[str, Any]] = {}
    for name, proposals in splits.items():
        for language in LANGUAGES:
            chosen = [p for p in proposals if p.lang == language]
            if not chosen:
                continue
            lengths = sorted(len(p.text) for p in chosen)
            columns[f"{name} {language}"] = {
                "records": len(chosen),
                "projects": len({p.project for p in chosen}),
                "not aligned": sum(not p.aligned for p in chosen),
                "with traps": sum(bool(p.traps) for p in chosen),
                "median characters": lengths[len(lengths) // 2] if name.startswith(PROPOSALS) else "–",
                "longest": lengths[-1] if name.startswith(PROPOSALS) else "–",
            }
            counts = Counter(label for p in chosen for label in p.labels)
            part = positives.setdefault(
                f"{name.split('/')[0]} {language}", dict.fromkeys((*taxonomy.domain_ids, *taxonomy.support_ids), 0)
            )
            for label, number in counts.items():
                part[label] += number
    return {"records": columns, "positives": positives}


def agreement(folder: Path, taxonomy: Taxonomy) -> dict[str, dict[str, float]]:
    """Agreement of ``second-pass.jsonl`` with the labels of record, for authored and for real texts.

    For domains and supports: positive-specific agreement, ``2 a / (2 a + b + c)`` over all label decisions, where both
    passes set ``a``, one alone ``b`` and ``c`` (Fleiss, 1975; it equals micro-F1). For the gate: share of equal ones.
    """
    splits, findings = read_splits(folder, taxonomy)
    second = _read(folder / SECOND_PASS, taxonomy, findings)
    if findings:
        raise RecordError(findings[0])
    first = {p.id: (p, name.split("/")[0]) for name, proposals in splits.items() for p in proposals}
    result: dict[str, dict[str, float]] = {}
    for part, name in ((PROPOSALS, "authored"), (REAL, "real")):
        pairs = [(first[p.id][0], p) for p in second if p.id in first and first[p.id][1] == part]
        if pairs:
            result[name] = {
                "records": len(pairs),
                "gate": sum(a.aligned == b.aligned for a, b in pairs) / len(pairs),
                "domains": _positive_agreement([(set(a.domains), set(b.domains)) for a, b in pairs]),
                "supports": _positive_agreement([(set(a.supports), set(b.supports)) for a, b in pairs]),
            }
    return result


def _positive_agreement(pairs: Sequence[tuple[set[str], set[str]]]) -> float:
    both = sum(len(a & b) for a, b in pairs)
    either = sum(len(a) + len(b) for a, b in pairs)
    return 2 * both / either if either else 1.0
