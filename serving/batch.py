"""Tags a table: reads rows as a stream, tags them in blocks, writes them with the tag columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from duibiao.data.errors import TableError
from duibiao.data.taxonomy import Language, Taxonomy
from duibiao.tagger import Tagger, Tags

from .tables import Row, Sheet, free_name, read_sheet
from .writers import write_whole

_BLOCK = 128
"""Rows tagged at a time."""
_ABSURD = 1_000_000
"""Characters above which a cell holds no proposal."""
_ALMOST = 0.5
"""A label is shown as nearly assigned from this share of its threshold on."""

_WORDS: dict[str, tuple[str, str]] = {  # key: (Chinese, English)
    "domains": ("行动领域", "Action domains"),
    "supports": ("支撑领域", "Support areas"),
    "sections": ("对应章节", "Sections"),
    "confidence": ("把握程度", "Confidence"),
    "almost": ("接近入选", "Nearly assigned"),
    "needs_review": ("需人工复核", "Needs review"),
    "note": ("备注", "Note"),
    "model": ("模型版本", "Model"),
    "yes": ("是", "yes"),
    "no": ("否", "no"),
    "cut": ("有单元格超过32767字，写入Excel时被截断", "a cell was cut at Excel's 32,767 characters; write .csv"),
    "absurd": ("正文超过一百万字，未打标", "text of over a million characters, not tagged"),
    "empty": ("正文为空，未打标", "no text, not tagged"),
    "unreadable": ("不是可读的中文或英文，未打标", "not readable as Chinese or English, not tagged"),
    "long_row": ("本行单元格多于表头", "row has more cells than the header"),
    "probability": ("概率：", "P: "),
}


@dataclass(frozen=True)
class Summary:
    """What came of tagging a table."""

    rows: int
    tagged: int
    aligned: int
    needs_review: int
    empty: int
    unreadable: int
    faulty: int


class Columns:
    """The tag columns, in one language."""

    def __init__(self, taxonomy: Taxonomy, thresholds: Sequence[float], language: Language, *, scores: bool) -> None:
        self._taxonomy, self._language, self._scores = taxonomy, language, scores
        self._thresholds = dict(zip(taxonomy.label_ids, thresholds, strict=True))
        self._separator = "；" if language == "zh" else "; "
        self.keys = (
            "aligned",
            "domains",
            "supports",
            "sections",
            "confidence",
            "almost",
            "needs_review",
            "note",
            "model",
        )

    def _word(self, key: str) -> str:
        return _WORDS[key][0 if self._language == "zh" else 1]

    def names(self, taken: Sequence[str]) -> list[str]:
        """Names of the added columns, none of them taken."""
        keys = ("domains", "supports", "sections", "confidence", "almost", "needs_review", "note", "model")
        names = [self._taxonomy.gate.name[self._language], *map(self._word, keys)]
        if self._scores:
            names += [self._word("probability") + label.name[self._language] for label in self._taxonomy.labels]
        return [free_name(name, taken) for name in names]

    def _label(self, label_id: str) -> str:
        return self._taxonomy[label_id].name[self._language]

    def _section(self, number: int) -> str:
        ordinal = self._taxonomy.sections[number - 1].ordinal
        return f"（{ordinal}）" if self._language == "zh" else f"({ordinal})"

    def note(self, row: Row, tags: Tags | None, text: str, width: int, cell_limit: int | None) -> str:
        """What a person should know of this row."""
        notes = [row.fault] if row.fault else []
        if tags is None and not row.fault and not row.is_blank:
            notes.append(self._word("absurd" if text else "empty"))
        if tags is not None and not tags.readable:
            notes.append(self._word("unreadable"))
        if len(row.cells) > width:
            notes.append(self._word("long_row"))
        if cell_limit and any(isinstance(cell, str) and len(cell) > cell_limit for cell in row.cells):
            notes.append(self._word("cut"))
        return self._separator.join(notes)

    def cells(self, row: Row, tags: Tags | None, note: str) -> list[Any]:
        """Cells of the added columns for one row."""
        blank = [""] * len(self._taxonomy.labels) if self._scores else []
        if tags is None:
            return ["", "", "", "", "", "", "" if row.is_blank else self._word("yes"), note, "", *blank]
        if not tags.readable:
            return ["", "", "", "", "", "", self._word("yes"), note, tags.model_version, *blank]
        assigned = (*tags.domains, *tags.supports)
        join = self._separator.join
        shown = [
            self._word("yes" if tags.aligned else "no"),
            join(self._label(i) for i in tags.domains),
            join(self._label(i) for i in tags.supports),
            "".join(self._section(n) for n in tags.sections),
            join(self._with_score(tags, i) for i in assigned) or self._with_score(tags, self._taxonomy.gate.id),
            join(self._with_score(tags, i) for i in self._almost(tags, assigned)),
            self._word("yes" if tags.needs_review else "no"),
            note,
            tags.model_version,
        ]
        return shown + ([round(v, 4) for v in tags.scores.values()] if self._scores else [])

    def _with_score(self, tags: Tags, label_id: str) -> str:
        return f"{self._label(label_id)} {tags.scores[label_id]:.2f}"

    def _almost(self, tags: Tags, assigned: Sequence[str]) -> list[str]:
        close = [
            (v / self._thresholds[i], i)
            for i, v in tags.scores.items()
            if i not in assigned and i != self._taxonomy.gate.id
        ]
        return [i for share, i in sorted(close, reverse=True)[:3] if share >= _ALMOST]

    def record(self, row: Row, tags: Tags | None, note: str) -> dict[str, Any]:
        """The same for JSON Lines: ids instead of names."""
        if tags is None:
            return {"note": note, "needs_review": not row.is_blank}
        return {
            "aligned": tags.aligned,
            "domains": list(tags.domains),
            "supports": list(tags.supports),
            "sections": list(tags.sections),
            "scores": {i: round(v, 4) for i, v in tags.scores.items()},
            "needs_review": tags.needs_review,
            "readable": tags.readable,
            "note": note,
            "model_version": tags.model_version,
            "taxonomy_version": tags.taxonomy_version,
        }


def _blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while block := list(islice(rows, _BLOCK)):
        yield block


def _tag_block(tagger: Tagger, texts: Sequence[str]) -> list[Tags | None]:
    fit = [bool(text) and len(text) <= _ABSURD for text in texts]
    found = iter(tagger.tag_batch([text for text, ok in zip(texts, fit, strict=True) if ok]))
    return [next(found) if ok else None for ok in fit]


def tag_table(
    tagger: Tagger,
    source: Path,
    target: Path,
    *,
    language: Language,
    text: Sequence[str] = (),
    encoding: str | None = None,
    sheet: str | None = None,
    scores: bool = False,
    raw_csv: bool = False,
    started: Callable[[Sheet], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Tag ``source`` into ``target``: every original column and row in order, then the tag columns.

    ``started`` is told of the table once it is open, ``advance`` of rows as they are done. Raises
    :class:`~duibiao.TableError`; ``target`` is then as it was before.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise TableError(f"{target} is the file that is read; give another output")
    table = read_sheet(source, text=text, encoding=encoding, sheet=sheet)
    started(table)
    columns = Columns(tagger.taxonomy, tagger.bundle.manifest.thresholds, language, scores=scores)
    width = len(table.header)
    count = dict.fromkeys(("rows", "tagged", "aligned", "needs_review", "empty", "unreadable", "faulty"), 0)
    with write_whole(target, raw_csv=raw_csv) as writer:
        writer.header(table.preamble, table.header, columns.names(table.header))
        for block in _blocks(table.rows):
            texts = ["" if row.fault else table.text(row) for row in block]
            for row, text_, tags in zip(block, texts, _tag_block(tagger, texts), strict=True):
                note = columns.note(row, tags, text_, width, writer.cell_limit)
                writer.row(row, columns.cells(row, tags, note), columns.record(row, tags, note))
                count["rows"] += 1
                count["faulty"] += bool(row.fault)
                count["empty"] += not text_ and not row.fault and not row.is_blank
                if tags is not None:
                    count["tagged"] += tags.readable
                    count["unreadable"] += not tags.readable
                    count["aligned"] += tags.aligned
                if not row.is_blank:
                    count["needs_review"] += tags is None or tags.needs_review
            advance(len(block))
    return Summary(**count)
