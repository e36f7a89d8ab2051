"""Splitting by project, stratified by language and label."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import RecordError
from .records import Proposal, scan_proposals, write_proposals
from .taxonomy import Taxonomy, load_taxonomy

SPLITS = ("train", "validation", "test")


def _strata(proposal: Proposal) -> list[tuple[str, str]]:
    return [(proposal.lang, name) for name in proposal.labels or (f"gate {proposal.aligned}",)]


def split(
    proposals: Iterable[Proposal], shares: Mapping[str, float], kept: Mapping[str, str] | None = None, seed: int = 1
) -> dict[str, str]:
    """Project → split, so that each split has its share of every label in each language.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011) over whole projects: the label with the fewest
    projects left is dealt first, each of its projects to the split that lacks most of it. ``kept`` are projects that
    have their split already; they stay and count.
    """
    homes = dict(kept or {})
    strata: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    for proposal in proposals:
        strata[proposal.project].update(_strata(proposal))
        sizes[proposal.project] += 1
    total = sum(strata.values(), Counter())
    lacks = {name: Counter({s: share * n for s, n in total.items()}) for name, share in shares.items()}
    room = {name: share * sizes.total() for name, share in shares.items()}

    def settle(project: str, home: str) -> None:
        homes[project] = home
        lacks[home].subtract(strata[project])
        room[home] -= sizes[project]

    left = sorted(strata)
    random.Random(seed).shuffle(left)
    for project in [p for p in left if p in homes]:
        settle(project, homes[project])
    waiting = {p: None for p in left if p not in homes}
    while waiting:
        remaining = Counter(s for p in waiting for s in strata[p])
        rarest = min(remaining, key=lambda s: (remaining[s], s))
        for project in _having(waiting, strata, rarest):
            home = max(shares, key=lambda name: (lacks[name][rarest], room[name]))
            settle(project, home)
            del waiting[project]
    return {project: homes[project] for project in strata}


def _having(
    waiting: Iterable[str], strata: Mapping[str, Counter[tuple[str, str]]], stratum: tuple[str, str]
) -> Sequence[str]:
    return [p for p in waiting if strata[p][stratum]]


def deal(source: Path, folder: Path, shares: Mapping[str, float], seed: int = 1) -> dict[str, int]:
    """Deal the records of ``source`` into ``<split>.jsonl`` files of ``folder``; return the size of each.

    Records that are there already stay where they are, and their projects with them; a record of ``source`` with the id
    of one that is there takes its place. Labels-only records are dealt as such.
    """
    taxonomy = load_taxonomy()
    folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, Proposal] = {}
    kept: dict[str, str] = {}
    for name in SPLITS:
        path = folder / f"{name}.jsonl"
        for proposal in _sound(path, taxonomy) if path.exists() else ():
            if kept.setdefault(proposal.project, name) != name:
                raise RecordError(f"{path}: project {proposal.project!r} is in {kept[proposal.project]} too")
            records[proposal.id] = proposal
    for proposal in _sound(source, taxonomy):
        records[proposal.id] = proposal
    homes = split(records.values(), shares, kept, seed)
    dealt = {name: [p for _, p in sorted(records.items()) if homes[p.project] == name] for name in SPLITS}
    for name, proposals in dealt.items():
        write_proposals(folder / f"{name}.jsonl", proposals)
    return {name: len(proposals) for name, proposals in dealt.items()}


def _sound(path: Path, taxonomy: Taxonomy) -> Iterator[Proposal]:
    for found in scan_proposals(path, taxonomy, digests=True):
        if isinstance(found, RecordError):
            raise found
        yield found
