"""Splitting by project, stratified by language and label."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .errors import RecordError
from .records import Proposal, scan_proposals, sound, write_proposals
from .taxonomy import load_taxonomy

SPLITS, FROZEN = ("train", "validation", "test"), "frozen.json"


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
        if home not in lacks:  # closed
            return
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

    Records that are there already stay where they are, and their projects with them. A record of ``source`` with the id
    and the text of one that is there takes its place; raises :class:`RecordError` if the text is another, or if a
    project of a frozen test would grow. Labels-only records are dealt as such.
    """
    taxonomy = load_taxonomy()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl" for name in SPLITS}
    there = {
        name: list(sound(scan_proposals(path, taxonomy, digests=True))) for name, path in paths.items() if path.exists()
    }
    frozen = {name.removesuffix(".jsonl") for name in read_frozen(folder)}
    records: dict[str, Proposal] = {}
    kept: dict[str, str] = {}
    for name, proposals in there.items():
        for proposal in proposals:
            if kept.setdefault(proposal.project, name) != name:
                raise RecordError(f"{paths[name]}: project {proposal.project!r} is in {kept[proposal.project]} too")
            records[proposal.id] = proposal
    for proposal in sound(scan_proposals(source, taxonomy, digests=True)):
        if (known := records.get(proposal.id)) and known.sha256 != proposal.sha256:
            raise RecordError(f"{source}: id {proposal.id!r} is in {folder} with another text")
        if kept.get(proposal.project) in frozen and known != proposal:
            raise RecordError(f"{source}: {proposal.id!r} would change the frozen {kept[proposal.project]} split")
        records[proposal.id] = proposal
    open_shares = {name: share for name, share in shares.items() if name not in frozen}
    homes = split(records.values(), open_shares, kept, seed)
    dealt = {name: [p for _, p in sorted(records.items()) if homes[p.project] == name] for name in SPLITS}
    for name, proposals in dealt.items():
        if name not in frozen:
            part = paths[name].with_suffix(".part")
            write_proposals(part, proposals)
            part.replace(paths[name])
    return {name: len(proposals) for name, proposals in dealt.items()}


def read_frozen(folder: Path) -> dict[str, str]:
    """Names of the frozen files of a folder, with the digests they had; empty if nothing is frozen."""
    path = folder / FROZEN
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
