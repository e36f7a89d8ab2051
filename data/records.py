"""Proposals as records: one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DuibiaoError, RecordError
from .taxonomy import LANGUAGES, Language, Taxonomy

REQUIRED = ("id", "project", "lang", "text", "aligned", "domains", "supports")

Texts = Mapping[str, str]
"""SHA-256 of a text → the text, for records that are kept as labels only."""


@dataclass(frozen=True)
class Proposal:
    """One labelled proposal.

    ``project`` is shared by every version (translation, variant) of one project and never crosses a split. ``traps``
    are labels that the text mentions but does not serve; ``note`` says why a debatable label was decided as it was.
    """

    id: str
    project: str
    lang: Language
    text: str
    aligned: bool
    domains: tuple[str, ...]
    supports: tuple[str, ...]
    style: str = ""
    traps: tuple[str, ...] = ()
    note: str = ""
    source: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Domains, then supports."""
        return (*self.domains, *self.supports)

    def to_json(self) -> dict[str, Any]:
        """The record as written to JSON Lines; empty optional fields are left out."""
        required = {name: getattr(self, name) for name in REQUIRED}
        optional = {name: value for name in ("style", "traps", "note", "source") if (value := getattr(self, name))}
        return required | optional


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8; labels of texts that are kept elsewhere are tied to it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check_fields(raw: dict[str, Any]) -> None:
    for field in REQUIRED:
        if field not in raw:
            raise RecordError(f"field '{field}' is missing")
    for field in ("id", "project", "text"):
        if not isinstance(raw[field], str) or not raw[field].strip():
            raise RecordError(f"field '{field}' must be a string that is not empty")
    if raw["lang"] not in LANGUAGES:
        raise RecordError(f"field 'lang' must be one of {LANGUAGES}, not {raw['lang']!r}")
    if not isinstance(raw["aligned"], bool):
        raise RecordError("field 'aligned' must be true or false")


def _labels(raw: dict[str, Any], field: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    values = raw.get(field, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise RecordError(f"field '{field}' must be a list of strings")
    if len(set(values)) != len(values):
        raise RecordError(f"field '{field}' has a label twice")
    for value in values:
        if value not in allowed:
            raise RecordError(f"field '{field}' has the unknown label {value!r}")
    return tuple(values)


def parse_proposal(raw: Any, taxonomy: Taxonomy) -> Proposal:
    """Validate one parsed record; raises :class:`RecordError` naming the field."""
    if not isinstance(raw, dict):
        raise RecordError(f"must be a JSON object, not {type(raw).__name__}")
    _check_fields(raw)
    domains = _labels(raw, "domains", taxonomy.domain_ids)
    supports = _labels(raw, "supports", taxonomy.support_ids)
    traps = _labels(raw, "traps", taxonomy.label_ids)
    if not raw["aligned"] and (domains or supports):
        raise RecordError("field 'aligned' is false but the record has labels")
    if both := set(traps) & {*domains, *supports}:
        raise RecordError(f"field 'traps' names {min(both)!r}, which the record is labelled with")
    extra = {name: raw[name] for name in ("style", "note", "source") if isinstance(raw.get(name), str)}
    return Proposal(
        raw["id"], raw["project"], raw["lang"], raw["text"], raw["aligned"], domains, supports, traps=traps, **extra
    )


def load_texts(path: Path) -> dict[str, str]:
    """Texts of the JSON Lines files at ``path`` (a file or a folder), by SHA-256."""
    found: dict[str, str] = {}
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        try:
            with file.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    text = json.loads(line).get("text") if line.strip() else None
                    if isinstance(text, str):
                        found[digest(text)] = text
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise RecordError(f"{file}: texts cannot be read: {error}") from error
    return found


def scan_proposals(
    path: Path, taxonomy: Taxonomy, texts: Texts | None = None, *, digests: bool = False
) -> Iterator[Proposal | RecordError]:
    """Yield the proposals of a JSON Lines file, and a :class:`RecordError` for each line that holds none.

    A record that has ``sha256`` in place of ``text`` is a label of a text kept elsewhere: it is joined with ``texts``,
    and left out where they do not hold it; with ``digests`` the digest stands for the text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    raw = json.loads(line)
                    if isinstance(raw, dict) and "text" not in raw and "sha256" in raw:
                        sha = raw["sha256"]
                        if not isinstance(sha, str):
                            raise RecordError("field 'sha256' must be a string")
                        if not digests and sha not in (texts or {}):
                            continue
                        raw["text"] = f"sha256:{sha}" if digests else (texts or {})[sha]
                    yield parse_proposal(raw, taxonomy)
                except json.JSONDecodeError as error:
                    yield RecordError(f"{path}:{number}: not JSON: {error.msg}")
                except (DuibiaoError, ValueError, RecursionError) as error:
                    yield RecordError(f"{path}:{number}: {error}")
    except OSError as error:
        yield RecordError(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        yield RecordError(f"{path}: not UTF-8 at byte {error.start}")


def read_proposals(path: Path, taxonomy: Taxonomy, texts: Texts | None = None) -> Iterator[Proposal]:
    """Yield the proposals of a JSON Lines file; see :func:`scan_proposals`. Raises on the first broken line."""
    for found in scan_proposals(path, taxonomy, texts):
        if isinstance(found, RecordError):
            raise found
        yield found


def write_proposals(path: Path, proposals: Iterable[Proposal]) -> None:
    """Write JSON Lines, one proposal a line."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for proposal in proposals:
            out.write(json.dumps(proposal.to_json(), ensure_ascii=False) + "\n")
