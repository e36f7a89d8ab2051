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

from .tables import Row, Sheet, read_sheet
from .writers import free_name, write_whole

_BLOCK = 128
"""Rows tagged at a time."""
_ALMOST = 0.5
"""A label is shown as nearly assigned from this share of its threshold on."""

_WORDS: dict[str, tuple[str, str]] = {  # key: (Chinese, English)
    "aligned": ("是否AI相关", "AI-related"),
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
        names = [self._word(key) for key in self.keys]
        if self._scores:
            names += [self._word("probability") + label.name[self._language] for label in self._taxonomy.labels]
        return [free_name(name, taken) for name in names]

    def _label(self, label_id: str) -> str:
        return self._taxonomy[label_id].name[self._language]

    def _section(self, number: int) -> str:
        ordinal = self._taxonomy.sections[number - 1].ordinal
        return f"（{ordinal}）" if self._language == "zh" else f"({ordinal})"

    def note(self, row: Row, tags: Tags | None, width: int) -> str:
        """What a person should know of this row."""
        notes = [row.fault] if row.fault else []
        if not row.fault and tags is None and not _is_blank(row):
            notes.append(self._word("empty"))
        if tags is not None and not tags.readable:
            notes.append(self._word("unreadable"))
        if len(row.cells) > width:
            notes.append(self._word("long_row"))
        return self._separator.join(notes)

    def cells(self, row: Row, tags: Tags | None, width: int) -> list[Any]:
        """Cells of the added columns for one row."""
        note = self.note(row, tags, width)
        if tags is None:
            review = "" if _is_blank(row) and not row.fault else self._word("yes")
            extra = [""] * len(self._taxonomy.labels) if self._scores else []
            return ["", "", "", "", "", "", review, note, "", *extra]
        assigned = (*tags.domains, *tags.supports)
        join = self._separator.join
        almost = self._almost(tags, assigned)
        shown = [
            self._word("yes" if tags.aligned else "no"),
            join(self._label(i) for i in tags.domains),
            join(self._label(i) for i in tags.supports),
            "".join(self._section(n) for n in tags.sections),
            join(f"{self._label(i)} {tags.scores[i]:.2f}" for i in assigned)
            or f"{self._label('aligned')} {tags.scores['aligned']:.2f}",
            join(f"{self._label(i)} {tags.scores[i]:.2f}" for i in almost),
            self._word("yes" if tags.needs_review else "no"),
            note,
            tags.model_version,
        ]
        return shown + ([round(v, 4) for v in tags.scores.values()] if self._scores else [])

    def _almost(self, tags: Tags, assigned: Sequence[str]) -> list[str]:
        if not tags.readable:
            return []
        close = [
            (v / self._thresholds[i], i)
            for i, v in tags.scores.items()
            if i not in assigned and i != self._taxonomy.gate.id
        ]
        return [i for share, i in sorted(close, reverse=True)[:3] if share >= _ALMOST]

    def record(self, row: Row, tags: Tags | None, width: int) -> dict[str, Any]:
        """The same for JSON Lines: ids instead of names."""
        note = self.note(row, tags, width)
        if tags is None:
            return {"note": note, "needs_review": True}
        return {
            "aligned": tags.aligned,
            "domains": list(tags.domains),
            "supports": list(tags.supports),
            "sections": list(tags.sections),
            "scores": {i: round(v, 4) for i, v in tags.scores.items()},
            "needs_review": tags.needs_review,
            "note": note,
            "model_version": tags.model_version,
            "taxonomy_version": tags.taxonomy_version,
        }


def _is_blank(row: Row) -> bool:
    return not row.fault and not any(str(cell).strip() for cell in row.cells)


def _blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while block := list(islice(rows, _BLOCK)):
        yield block


def _tag_block(tagger: Tagger, sheet: Sheet, block: Sequence[Row]) -> list[Tags | None]:
    texts = ["" if row.fault else sheet.text(row) for row in block]
    found = iter(tagger.tag_batch([text for text in texts if text]))
    return [next(found) if text else None for text in texts]


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
            for row, tags in zip(block, _tag_block(tagger, table, block), strict=True):
                writer.row(row, columns.cells(row, tags, width), columns.record(row, tags, width))
                count["rows"] += 1
                count["faulty"] += bool(row.fault)
                count["empty"] += tags is None and not row.fault
                if tags is not None:
                    count["tagged"] += 1
                    count["aligned"] += tags.aligned
                    count["needs_review"] += tags.needs_review
                    count["unreadable"] += not tags.readable
            advance(len(block))
    return Summary(**count)
