"""The linter: what must hold of the labelled data.

Near-duplicates are pairs of texts whose character 4-gram counts (white space removed, lower case) have a cosine of 0.85
or more; they fail across splits, and authored ones within a split too (sources of real texts repeat themselves).
Versions of one project share ``project`` and must share a split.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from .agreement import pair_up, read_pass
from .errors import DuibiaoError, RecordError
from .records import Proposal, Texts, digest, scan_proposals
from .review import FILE as REVIEWS
from .review import read_reviews, unheeded
from .split import FROZEN, SPLITS, read_frozen
from .taxonomy import LANGUAGES, Taxonomy

PROPOSALS, REAL, MINIMA = "proposals", "real", "minima.json"
SECOND_PASS, DECIDED = "second-pass", "decided.jsonl"
"""Folder with the two passes over one sample, ``first.jsonl`` and ``second.jsonl``, and what was decided in the end."""
NEAR_DUPLICATE = 0.85


def _read(path: Path, taxonomy: Taxonomy, findings: list[str], texts: Texts | None) -> list[Proposal]:
    """All sound records of a file; each broken one becomes a finding."""
    found = list(scan_proposals(path, taxonomy, texts, digests=True))
    findings += [str(f) for f in found if isinstance(f, RecordError)]
    return [f for f in found if isinstance(f, Proposal)]


def read_splits(
    folder: Path, taxonomy: Taxonomy, texts: Texts | None = None
) -> tuple[dict[str, list[Proposal]], list[str]]:
    """Records of every split file below ``folder`` as ``{"proposals/train": […], …}``, and what is broken in them.

    Where ``texts`` do not hold the text of a labels-only record, ``sha256:…`` stands for it.
    """
    findings: list[str] = []
    splits = {}
    for part in (PROPOSALS, REAL):
        for split in SPLITS:
            path = folder / part / f"{split}.jsonl"
            if path.exists() or part == PROPOSALS:
                splits[f"{part}/{split}"] = _read(path, taxonomy, findings, texts)
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


def _too_few(folder: Path, proposals: Sequence[Proposal], taxonomy: Taxonomy) -> Iterator[str]:
    """What ``minima.json`` asks for, if there is one: a set of one's own may be as small as it is."""
    path = folder / MINIMA
    if not path.exists():
        return
    minima: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    languages: dict[str, set[str]] = defaultdict(set)
    for proposal in proposals:
        languages[proposal.project].add(proposal.lang)
    counts = {
        "records": len(proposals),
        "not aligned": sum(not p.aligned for p in proposals),
        "projects in both languages": sum(len(found) == len(LANGUAGES) for found in languages.values()),
    }
    for language in LANGUAGES:
        counts[f"records in {language}"] = sum(p.lang == language for p in proposals)
    for name, least in minima.items():
        if name != "positives of each label in each language" and counts[name] < least:
            yield f"{path.parent}: {counts[name]} {name}; {least} are wanted"
    least = minima.get("positives of each label in each language", 0)
    for language in LANGUAGES:
        positives = Counter(label for p in proposals if p.lang == language for label in p.labels)
        for label in (*taxonomy.domain_ids, *taxonomy.support_ids):
            if positives[label] < least:
                yield f"label {label!r} has {positives[label]} positives in {language!r}; {least} are wanted"


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
        for name, expected in read_frozen(folder / part).items():
            path = folder / part / name
            actual = digest(path.read_text(encoding="utf-8")) if path.exists() else "missing"
            if actual != expected:
                yield f"{path} was changed after it was frozen (SHA-256 {actual[:12]}…, frozen as {expected[:12]}…)"


def _second_pass(folder: Path, splits: dict[str, list[Proposal]], taxonomy: Taxonomy) -> Iterator[str]:
    """Both passes must label the same texts, and these must be in the data."""
    passes = folder / SECOND_PASS
    if not passes.is_dir():
        return
    known = {p.id for proposals in splits.values() for p in proposals}
    try:
        pairs = pair_up(passes / "first.jsonl", passes / "second.jsonl", taxonomy)
        for name in ("first.jsonl", "second.jsonl"):
            for i in read_pass(passes / name, taxonomy).keys() - {p.id for p, _ in pairs}:
                yield f"{passes / name}: {i!r} is not in the other pass"
        yield from (f"{passes}: {p.id!r} is in no split" for p, _ in pairs if p.id not in known)
    except DuibiaoError as error:
        yield str(error)


def _reviews(folder: Path, proposals: Sequence[Proposal], taxonomy: Taxonomy) -> Iterator[str]:
    """Records must follow what was decided on doubted labels and on disagreements of the two passes."""
    for path in (folder / REVIEWS, folder / SECOND_PASS / DECIDED):
        if path.exists():
            try:
                reviews = read_reviews(path, taxonomy)
            except DuibiaoError as error:
                yield str(error)
            else:
                yield from (f"{path}: {fault}" for fault in unheeded(reviews, proposals, taxonomy))


def lint(folder: Path, taxonomy: Taxonomy, texts: Texts | None = None) -> list[str]:
    """Everything that is wrong with the data in ``folder``, one line each; empty if nothing is.

    Texts that are kept elsewhere are searched for near-duplicates only where ``texts`` are given.
    """
    if not (folder / PROPOSALS).is_dir():
        raise RecordError(f"{folder}: no folder '{PROPOSALS}'")
    splits, findings = read_splits(folder, taxonomy, texts)
    everything = [p for proposals in splits.values() for p in proposals]
    authored = [p for name, proposals in splits.items() if name.startswith(PROPOSALS) for p in proposals]
    home = {p.id: name for name, proposals in splits.items() for p in proposals}
    findings += _duplicate_ids(splits)
    findings += _crossing_projects(splits)
    findings += _twins_that_differ(splits)
    findings += _too_few(folder / PROPOSALS, authored, taxonomy)
    findings += (
        f"near-duplicate ({value:.2f}): {a.id} in {home[a.id]} and {b.id} in {home[b.id]}"
        for a, b, value in near_duplicates([p for p in everything if p.has_text])
        if home[a.id] != home[b.id] or home[a.id].startswith(PROPOSALS)
    )
    findings += _frozen(folder)
    findings += _second_pass(folder, splits, taxonomy)
    findings += _reviews(folder, everything, taxonomy)
    return findings


def freeze(folder: Path, names: Sequence[str] = ("test.jsonl",)) -> None:
    """Write the digests of the files that must not change any more."""
    digests = {name: digest((folder / name).read_text(encoding="utf-8")) for name in names}
    (folder / FROZEN).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
