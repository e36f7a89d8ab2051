"""Verdicts on labels that were doubted, by a model or by a second annotator, and looked at again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import RecordError
from .records import Proposal
from .taxonomy import Taxonomy

FILE = "label-errors.jsonl"
VERDICTS = ("right", "wrong", "debatable")


@dataclass(frozen=True)
class Review:
    """One reviewed decision: ``labelled`` is what it was; a ``wrong`` one is mended in the record itself."""

    id: str
    label: str
    labelled: bool
    verdict: str
    reason: str
    reviewer: str


def read_reviews(path: Path, taxonomy: Taxonomy) -> list[Review]:
    """Reviews of a JSON Lines file; raises :class:`RecordError` naming the line."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not UTF-8 at byte {error.start}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            review = Review(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise RecordError(f"{path}:{number}: not a review: {error}") from error
        for name, value in asdict(review).items():
            if not isinstance(value, bool if name == "labelled" else str):
                raise RecordError(f"{path}:{number}: field {name!r} is of the wrong type")
        if review.label not in taxonomy.label_ids or review.verdict not in VERDICTS:
            raise RecordError(f"{path}:{number}: unknown label {review.label!r} or verdict {review.verdict!r}")
        found.append(review)
    return found


def unheeded(reviews: Iterable[Review], proposals: Iterable[Proposal], taxonomy: Taxonomy) -> Iterator[str]:
    """Verdicts that the records of today do not follow."""
    decisions = {p.id: taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals}
    for review in reviews:
        if review.id not in decisions:
            yield f"{review.id!r} is in no split"
        else:
            now = bool(decisions[review.id][taxonomy.label_ids.index(review.label)])
            if now != (review.labelled ^ (review.verdict == "wrong")):
                yield f"{review.id!r} was found {review.verdict} on {review.label!r}; the record says otherwise"


def count(reviews: Iterable[Review], authored: Iterable[str]) -> dict[str, int]:
    """How many reviewed decisions were right, wrong, debatable; of authored and of real texts."""
    ids = set(authored)
    counts = Counter(("authored" if r.id in ids else "real", r.verdict) for r in reviews)
    return {
        f"doubted labels, {part}: {verdict}": counts[part, verdict]
        for part in ("authored", "real")
        for verdict in VERDICTS
    }
