"""Reading spreadsheets: CSV, TSV, Excel and JSON Lines as one stream of rows, with the text columns found."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from duibiao.data.errors import TableError

from .encodings import detect

Cells = list[Any]

EXCEL = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
_HEADER_SEARCH = 30
"""Rows at the top of a sheet among which the header is looked for."""
_MAX_UNPACKED = 1 << 30
"""Bytes an Excel file may unpack to; a small file that claims more is not a spreadsheet but a bomb."""

_BODY_NAMES = frozenset(
    "text abstract summary description proposal content body details overview synopsis narrative"
    " 正文 内容 文本 摘要 简介 项目简介 项目内容 项目摘要 项目描述 申报内容 主要内容 建设内容 研究内容 内容摘要"
    " 项目概述 概述 描述 申报书 申请书 全文"
    " 內容 簡介 項目簡介 項目內容 項目摘要 計畫摘要 計畫內容 計劃摘要 計劃內容".split()
) | {"project description", "project summary", "project abstract", "proposal text", "executive summary"}
_TITLE_NAMES = frozenset(
    "title name 标题 题目 名称 项目名称 项目题目 课题名称 申报项目 項目名稱 計畫名稱 計劃名稱 題目 標題".split()
) | {"project title", "project name", "proposal title"}


@dataclass(frozen=True)
class Row:
    """One row below the header."""

    cells: Cells
    record: dict[str, Any] | None = None
    """The JSON object, where the row was one."""
    fault: str = ""
    """Why the row could not be read, if so."""


@dataclass(frozen=True)
class Sheet:
    """A table being read: rows come as a stream, in order."""

    header: list[str]
    text_columns: tuple[int, ...]
    rows: Iterator[Row]
    preamble: list[Cells] = field(default_factory=list)
    """Rows above the header, kept as they are."""
    expected: int | None = None
    """About how many rows there are, for a progress bar."""
    remarks: tuple[str, ...] = ()
    """What was decided in reading: encoding, sheet, columns."""

    def text(self, row: Row) -> str:
        """The text columns of a row, one below the other."""
        values = (row.cells[i] for i in self.text_columns if i < len(row.cells))
        return "\n".join(text for value in values if (text := as_text(value).strip()))


def as_text(value: Any) -> str:
    """A cell as a person sees it: whole numbers without a point, nothing for an empty cell."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def read_sheet(path: Path, *, text: Sequence[str] = (), encoding: str | None = None, sheet: str | None = None) -> Sheet:
    """Open a table. ``text`` names the text columns (found by name, else by length, if empty).

    Raises :class:`~duibiao.TableError` naming the file and what is wrong with it.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: is empty")
    if sheet is not None and kind not in EXCEL:
        raise TableError(f"{path}: --sheet is for Excel files")
    if kind in EXCEL:
        return _read_excel(path, text, sheet)
    if kind in JSON_LINES:
        return _read_json_lines(path, text, encoding)
    if kind in DELIMITED:
        return _read_delimited(path, text, encoding)
    raise TableError(f"{path}: unknown kind of table {kind!r}; use {', '.join((*DELIMITED, *EXCEL, *JSON_LINES))}")


# --- header and text columns -------------------------------------------------------------------------------------


def _folded(cell: Any) -> str:
    return as_text(cell).strip().strip("*：: ").casefold()


def _named_columns(header: Cells, text: Sequence[str]) -> tuple[int, ...] | None:
    """Columns of a possible header row by name: those asked for, else the known title and body names."""
    folded = [_folded(cell) for cell in header]
    if text:
        return tuple(folded.index(_folded(name)) for name in text) if all(_folded(n) in folded for n in text) else None
    body = [i for i, name in enumerate(folded) if name in _BODY_NAMES]
    title = [i for i, name in enumerate(folded) if name in _TITLE_NAMES]
    return tuple(sorted((*title[:1], *body))) if body else None


def _longest_column(header: Cells, below: Sequence[Cells]) -> tuple[int, ...] | None:
    """The column with the longest texts on average, if they look like sentences (20 characters or more)."""
    averages = []
    for column in range(len(header)):
        lengths = [len(as_text(row[column])) for row in below if column < len(row) and isinstance(row[column], str)]
        averages.append(sum(lengths) / len(below) if below else 0.0)
    best = max(range(len(header)), key=averages.__getitem__, default=-1)
    return (best,) if best >= 0 and averages[best] >= 20 and as_text(header[best]).strip() else None


def _is_blank(cells: Cells) -> bool:
    return all(as_text(cell).strip() == "" for cell in cells)


def _find_header(top: list[Cells], text: Sequence[str]) -> tuple[int, tuple[int, ...]] | None:
    """(row of the header, text columns), by name anywhere near the top, else by shape."""
    for number, cells in enumerate(top[:_HEADER_SEARCH]):
        if found := _named_columns(cells, text):
            return number, found
    if text:
        return None
    for number, cells in enumerate(top[:_HEADER_SEARCH]):
        filled = [cell for cell in cells if as_text(cell).strip()]
        widest = max((len([c for c in r if as_text(c).strip()]) for r in top), default=0)
        if filled and len(filled) >= min(2, widest) and all(isinstance(c, str) and len(c) < 40 for c in filled):
            below = [row for row in top[number + 1 :] if not _is_blank(row)]
            if found := _longest_column(cells, below):
                return number, found
    return None


def _no_text_column(where: str, top: list[Cells], text: Sequence[str]) -> TableError:
    shown = next((cells for cells in top if not _is_blank(cells)), [])
    names = ", ".join(repr(as_text(c)) for c in shown[:12] if as_text(c).strip()) or "none"
    if text:
        missing = [name for name in text if _folded(name) not in {_folded(c) for cells in top for c in cells}]
        return TableError(f"{where}: no column {', '.join(repr(n) for n in missing or text)}; columns: {names}")
    return TableError(f"{where}: no text column found; name it with --text; columns: {names}")


def _assemble(
    where: str, rows: Iterable[Cells], text: Sequence[str], remarks: Sequence[str], expected: int | None
) -> Sheet:
    stream = iter(rows)
    top = list(islice(stream, _HEADER_SEARCH + 50))
    found = _find_header(top, text)
    if found is None:
        raise _no_text_column(where, top, text)
    at, columns = found
    header = [as_text(cell).strip() for cell in top[at]]
    chosen = "text column: " + " + ".join(repr(header[i]) for i in columns)
    return Sheet(
        header=header,
        text_columns=columns,
        rows=(Row(cells) for cells in chain(top[at + 1 :], stream)),
        preamble=top[:at],
        expected=None if expected is None else max(0, expected - at - 1),
        remarks=(*remarks, chosen),
    )


# --- formats -----------------------------------------------------------------------------------------------------


def _delimiter(path: Path, first: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    counts = {mark: first.count(mark) for mark in (",", "\t", ";", "|")}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ","


def _read_delimited(path: Path, text: Sequence[str], told: str | None) -> Sheet:
    encoding = detect(path, told)
    with path.open("rb") as data:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: data.read(1 << 20), b""))

    def rows() -> Iterator[Cells]:
        csv.field_size_limit(2**31 - 1)  # a proposal may be longer than the library's 131,072 characters
        with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as source:
            sample = next((line for line in source if line.strip()), "")
            source.seek(0)
            reader = csv.reader((line.replace("\0", "") for line in source), delimiter=_delimiter(path, sample))
            try:
                yield from reader
            except csv.Error as error:
                raise TableError(f"{path}: line {reader.line_num}: {error}") from error

    return _assemble(str(path), rows(), text, [f"encoding: {encoding.name}"], lines)


def _read_excel(path: Path, text: Sequence[str], wanted: str | None) -> Sheet:
    from python_calamine import CalamineError, CalamineWorkbook

    _refuse_bombs(path)
    try:
        workbook = CalamineWorkbook.from_path(path)
        names = workbook.sheet_names
        if wanted is not None and wanted not in names:
            raise TableError(f"{path}: no sheet {wanted!r}; sheets: {', '.join(names)}")
        faults = []
        for name in [wanted] if wanted is not None else names:
            sheet = workbook.get_sheet_by_name(name)
            if sheet.total_height == 0:
                faults.append(TableError(f"{path}: sheet {name!r} is empty"))
                continue
            try:
                rows = (["" if cell is None else cell for cell in cells] for cells in sheet.iter_rows())
                return _assemble(f"{path}, sheet {name!r}", rows, text, [f"sheet: {name}"], sheet.total_height)
            except TableError as error:
                faults.append(error)
    except CalamineError as error:
        raise TableError(f"{path}: not a readable Excel file: {error}") from error
    raise (
        faults[-1]
        if len(faults) == 1
        else TableError(f"{path}: no sheet has a text column; name sheet and column with --sheet and --text")
    )


def _refuse_bombs(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_UNPACKED:
            raise TableError(f"{path}: unpacks to {size / 2**30:.1f} GiB; refused (limit 1 GiB)")


def _read_json_lines(path: Path, text: Sequence[str], told: str | None) -> Sheet:
    encoding = detect(path, told)

    def records() -> Iterator[Row]:
        with path.open(encoding=encoding.name, errors=encoding.errors) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
                    yield Row([], {"line": line.rstrip("\r\n")}, f"line {number} is not JSON: {reason}")
                    continue
                yield (
                    Row([], value)
                    if isinstance(value, dict)
                    else Row([], {"line": value}, f"line {number} is no JSON object")
                )

    header: dict[str, None] = {}
    count = 0
    sample: list[dict[str, Any]] = []
    for row in records():  # a first pass for the keys, so that rows can become columns
        count += 1
        if not row.fault:
            header.update(dict.fromkeys(row.record or {}))
            if len(sample) < 50:
                sample.append(row.record or {})
    names: Cells = list(header)
    below = [[record.get(name, "") for name in names] for record in sample]
    columns = _named_columns(names, text) or (None if text else _longest_column(names, below))
    if columns is None:
        raise _no_text_column(str(path), [names], text)
    rows = (
        Row([row.record.get(name, "") for name in names] if row.record else [], row.record, row.fault)
        for row in records()
    )
    chosen = "text field: " + " + ".join(repr(names[i]) for i in columns)
    return Sheet(names, columns, rows, expected=count, remarks=(f"encoding: {encoding.name}", chosen))
