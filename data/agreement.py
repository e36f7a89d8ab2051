"""Agreement of two independent passes over the same texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Estimate, Weights, estimate, resample
from .errors import RecordError
from .records import Proposal, scan_proposals, sound
from .taxonomy import LANGUAGES, Taxonomy

Pair = tuple[Proposal, Proposal]


@dataclass(frozen=True)
class Agreement:
    """How far two passes agree on a label, or on all labels of a group taken together.

    ``positive``: positive-specific agreement ``2a / (2a + b + c)``, where both passes set the label on ``a`` texts and
    one alone on ``b`` and ``c`` (Fleiss, *Statistical Methods for Rates and Proportions*, 1981); NaN if neither does.
    ``alpha``: Krippendorff's alpha for nominal data (*Content Analysis*, 2004, ch. 11): 1 is perfect, 0 is chance;
    NaN if a label is on no text or on all.
    """

    name: str
    texts: int
    first: int
    second: int
    positive: Estimate
    alpha: Estimate


def read_pass(path: Path, taxonomy: Taxonomy) -> dict[str, Proposal]:
    """Labels of one pass by id; texts are not needed. Raises :class:`RecordError` on the first broken line."""
    found: dict[str, Proposal] = {}
    for proposal in sound(scan_proposals(path, taxonomy, digests=True)):
        if proposal.id in found:
            raise RecordError(f"{path}: id {proposal.id!r} occurs twice")
        found[proposal.id] = proposal
    return found


def pair_up(first: Path, second: Path, taxonomy: Taxonomy) -> list[Pair]:
    """Records that both passes labelled, by id; raises if there is none, or if an id stands for two texts."""
    one, two = read_pass(first, taxonomy), read_pass(second, taxonomy)
    shared = [i for i in one if i in two]
    if not shared:
        raise RecordError(f"{first} and {second} have no id in common")
    for i in shared:
        if one[i].sha256 != two[i].sha256:
            raise RecordError(f"{second}: the text of {i!r} is not the one in {first.name}")
    return [(one[i], two[i]) for i in shared]


def _measure(name: str, one: NDArray[np.bool_], two: NDArray[np.bool_], weights: Weights) -> Agreement:
    """``one``, ``two`` ``[n, k]``: decisions of both passes; ``weights`` ``[draws, n]``."""
    both, differ = (one & two).sum(1), (one ^ two).sum(1)
    k = one.shape[1]

    def positive(w: Weights) -> Weights:
        a, d = w @ both, w @ differ
        result: Weights = np.divide(2 * a, 2 * a + d, out=np.full(a.shape, np.nan), where=(2 * a + d) > 0)
        return result

    def alpha(w: Weights) -> Weights:
        # Coincidences of a binary variable and two coders without gaps; labels of a group are pooled as units.
        a, d, values = w @ both, w @ differ, 2 * k * w.sum(-1)
        ones = 2 * a + d
        chance = ones * (values - ones)
        share = np.divide(d, chance, out=np.full(d.shape, np.nan), where=chance > 0)
        result: Weights = 1 - (values - 1) * share
        return result

    whole = np.ones((1, len(one)))
    return Agreement(
        name,
        len(one),
        int(one.sum()),
        int(two.sum()),
        estimate(float(positive(whole)[0]), positive(weights)),
        estimate(float(alpha(whole)[0]), alpha(weights)),
    )


def agreement(pairs: Sequence[Pair], taxonomy: Taxonomy, *, draws: int = 1000, seed: int = 0) -> list[Agreement]:
    """Agreement on the gate, on all domains, on all support areas, and on each label; intervals over projects."""
    one, two = (
        np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in column], dtype=bool)
        for column in zip(*pairs, strict=True)
    )
    weights = resample([p.project for p, _ in pairs], draws, seed)
    end = 1 + len(taxonomy.domains)
    groups = {"gate": slice(0, 1), "domains": slice(1, end), "supports": slice(end, None)}
    groups |= {i: slice(k, k + 1) for k, i in enumerate(taxonomy.label_ids) if k}
    return [_measure(name, one[:, columns], two[:, columns], weights) for name, columns in groups.items()]


def by_part(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """All pairs, those of each language, and those without and with a source: authored and real texts."""
    parts = {"all": list(pairs)}
    parts |= {language: [p for p in pairs if p[0].lang == language] for language in LANGUAGES}
    parts |= {
        "without a source (authored)": [p for p in pairs if not p[0].source],
        "with a source (real)": [p for p in pairs if p[0].source],
    }
    return {name: found for name, found in parts.items() if found}


def disagreements(pairs: Sequence[Pair], taxonomy: Taxonomy) -> Iterator[tuple[Pair, str, bool, bool]]:
    """Each decision on which the passes differ: both records, the label, and what each pass said."""
    for pair in pairs:
        rows = (taxonomy.encode(p.aligned, p.domains, p.supports) for p in pair)
        for label, a, b in zip(taxonomy.label_ids, *rows, strict=True):
            if a != b:
                yield pair, label, bool(a), bool(b)
