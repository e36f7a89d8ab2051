"""Proposals as records: one JSON object a line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import DuibiaoError, MissingExtraError, RecordError
from .taxonomy import LANGUAGES, Language, Taxonomy

REQUIRED = ("id", "project", "lang", "text", "aligned", "domains", "supports")
OPTIONAL = ("style", "traps", "note", "source", "annotator")

_ELSEWHERE = "sha256:"
_SHA256 = re.compile(r'"sha256": ?"([0-9a-f]{64})"')

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
    annotator: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Domains, then supports."""
        return (*self.domains, *self.supports)

    @property
    def has_text(self) -> bool:
        """Whether the text is here, not just its digest; see :func:`scan_proposals`."""
        return not self.text.startswith(_ELSEWHERE)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, wherever it is kept."""
        return digest(self.text) if self.has_text else self.text.removeprefix(_ELSEWHERE)

    def to_json(self, *, labels_only: bool = False) -> dict[str, Any]:
        """The record as written to JSON Lines; empty optional fields are left out.

        With ``labels_only``, or where the text is kept elsewhere, its SHA-256 stands for it.
        """
        required = {name: getattr(self, name) for name in REQUIRED}
        if labels_only or not self.has_text:
            required = {k if k != "text" else "sha256": v if k != "text" else self.sha256 for k, v in required.items()}
        return required | {name: value for name in OPTIONAL if (value := getattr(self, name))}


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
    extra = {name: raw[name] for name in OPTIONAL if isinstance(raw.get(name), str)}
    return Proposal(
        raw["id"], raw["project"], raw["lang"], raw["text"], raw["aligned"], domains, supports, traps=traps, **extra
    )


def open_lines(path: Path) -> IO[str]:
    """Open JSON Lines, plain or compressed (.gz, .zst)."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("pretrain", "zstandard") from None
        return io.TextIOWrapper(
            zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(path.open("rb")), "utf-8"
        )
    return path.open(encoding="utf-8-sig")


def load_texts(path: Path, wanted: Collection[str] | None = None) -> dict[str, str]:
    """Texts of the JSON Lines files at ``path``, by SHA-256; only ``wanted`` ones, if given.

    ``path`` is a file or a folder, which is searched with the folders in it; files may be compressed (.gz, .zst).
    """
    found: dict[str, str] = {}
    files = (
        sorted(f for f in path.rglob("*.jsonl*") if f.suffix in (".jsonl", ".gz", ".zst")) if path.is_dir() else [path]
    )
    for file in files:
        try:
            with open_lines(file) as lines:
                for line in lines:
                    text = json.loads(line).get("text") if line.strip() else None
                    if isinstance(text, str):
                        sha = digest(text)
                        if wanted is None or sha in wanted:
                            found[sha] = text
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise RecordError(f"{file}: texts cannot be read: {error}") from error
    return found


def wanted_texts(files: Iterable[Path]) -> set[str]:
    """SHA-256 of the texts that labels-only records of ``files`` stand for; broken lines are left to the reader."""
    found: set[str] = set()
    for file in files:
        with suppress(OSError, UnicodeDecodeError), file.open(encoding="utf-8-sig") as lines:
            found.update(sha for line in lines for sha in _SHA256.findall(line))
    return found


def scan_proposals(
    path: Path, taxonomy: Taxonomy, texts: Texts | None = None, *, digests: bool = False
) -> Iterator[Proposal | RecordError]:
    """Yield the proposals of a JSON Lines file, and a :class:`RecordError` for each line that holds none.

    A record that has ``sha256`` in place of ``text`` is a label of a text kept elsewhere: it is joined with ``texts``,
    and left out where they do not hold it; with ``digests`` it stays, and ``sha256:…`` stands for the text.
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
                        raw["text"] = (texts or {}).get(sha, _ELSEWHERE + sha)
                    yield parse_proposal(raw, taxonomy)
                except json.JSONDecodeError as error:
                    yield RecordError(f"{path}:{number}: not JSON: {error.msg}")
                except (DuibiaoError, ValueError, RecursionError) as error:
                    yield RecordError(f"{path}:{number}: {error}")
    except OSError as error:
        yield RecordError(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        yield RecordError(f"{path}: not UTF-8 at byte {error.start}")


def sound(found: Iterable[Proposal | RecordError]) -> Iterator[Proposal]:
    """The proposals of :func:`scan_proposals`; raises the first error among them."""
    for item in found:
        if isinstance(item, RecordError):
            raise item
        yield item


def read_proposals(path: Path, taxonomy: Taxonomy, texts: Texts | None = None) -> Iterator[Proposal]:
    """Yield the proposals of a JSON Lines file; see :func:`scan_proposals`. Raises on the first broken line."""
    return sound(scan_proposals(path, taxonomy, texts))


def write_proposals(path: Path, proposals: Iterable[Proposal], *, labels_only: bool = False) -> None:
    """Write JSON Lines, one proposal a line; see :meth:`Proposal.to_json`."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for proposal in proposals:
            out.write(json.dumps(proposal.to_json(labels_only=labels_only), ensure_ascii=False) + "\n")
