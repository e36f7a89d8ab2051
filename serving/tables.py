"""Reading spreadsheets: CSV, TSV, Excel and JSON Lines as one stream of rows, with the text columns found."""

from __future__ import annotations

import csv
import json
import math
import re
import zipfile
from collections import Counter
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
_TOP = _HEADER_SEARCH + 50
"""Rows at the top that are looked at to find the text column."""
_MAX_UNPACKED = 1 << 30
"""Bytes an Excel file may unpack to; a small file that claims more is not a spreadsheet but a bomb."""
_MAX_LINES_OF_ROW = 2000
"""Lines that one quoted CSV row may span; more means that a quote was never closed."""

_BODY_NAMES = frozenset(
    "text abstract summary description proposal content body details overview synopsis narrative"
    " projectdescription projectsummary projectabstract proposaltext executivesummary"
    " 正文 内容 文本 摘要 简介 项目简介 项目内容 项目摘要 项目描述 申报内容 主要内容 建设内容 研究内容 内容摘要"
    " 项目概述 概述 描述 申报书 申请书 全文 项目概况 项目介绍 项目主要内容 主要研究内容"
    " 內容 簡介 項目簡介 項目內容 項目摘要 計畫摘要 計畫內容 計劃摘要 計劃內容 計畫簡介".split()
)
_TITLE_NAMES = frozenset(
    "title name projecttitle projectname proposaltitle"
    " 标题 题目 名称 项目名称 项目题目 课题名称 申报项目 項目名稱 計畫名稱 計劃名稱 題目 標題".split()
)


@dataclass(frozen=True)
class Row:
    """One row below the header."""

    cells: Cells
    record: dict[str, Any] | None = None
    """The JSON object, where the row was one."""
    fault: str = ""
    """Why the row could not be read, if so."""

    @property
    def is_blank(self) -> bool:
        """Whether the row is there for spacing only."""
        return not self.fault and self.record is None and is_blank(self.cells)


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
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(plain_number(value))


def plain_number(value: Any) -> Any:
    """Whole floats, as Excel stores every number, as integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_blank(cells: Cells) -> bool:
    """Whether no cell shows anything."""
    return all(as_text(cell).strip() == "" for cell in cells)


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
    if encoding is not None and kind in EXCEL:
        raise TableError(f"{path}: --encoding is for text files")
    if kind in EXCEL:
        return _read_excel(path, text, sheet)
    if kind in JSON_LINES:
        return _read_json_lines(path, text, encoding)
    if kind in DELIMITED:
        return _read_delimited(path, text, encoding)
    raise TableError(f"{path}: unknown kind of table {kind!r}; use {', '.join((*DELIMITED, *EXCEL, *JSON_LINES))}")


# --- header and text columns -------------------------------------------------------------------------------------

_ASIDE = re.compile(r"[（(【\[][^）)】\]]*[）)】\]]$")
_NUMERIC = re.compile(r"[\d\s.,:/+%年月日-]+")


def _folded(cell: Any) -> str:
    """A column name without case, white space, marks and a trailing remark: ``* 项目简介（500字以内）`` → 项目简介."""
    bare = "".join(as_text(cell).split()).strip("*＊：:").casefold()
    return _ASIDE.sub("", bare).strip("*＊：:") or bare


def _could_be_header(cells: Cells, widest: int) -> bool:
    """Names only, no numbers or dates, each once, and not a lone title above a wide table."""
    filled = [cell for cell in cells if as_text(cell).strip()]
    names = [_folded(cell) for cell in filled]
    if len(filled) < min(2, widest) or len(set(names)) != len(names):
        return False
    return all(isinstance(cell, str) and not _NUMERIC.fullmatch(cell.strip()) for cell in filled)


def _named_columns(header: Cells, text: Sequence[str]) -> tuple[int, ...] | None:
    """Columns of a possible header row by name: those asked for, else the known title and body names."""
    folded = [_folded(cell) for cell in header]
    if text:
        return tuple(folded.index(_folded(name)) for name in text) if all(_folded(n) in folded for n in text) else None
    body = [i for i, name in enumerate(folded) if name in _BODY_NAMES]
    title = [i for i, name in enumerate(folded) if name in _TITLE_NAMES]
    return tuple(sorted((*title[:1], *body))) if body else None


def _longest_column(header: Cells, below: Sequence[Cells]) -> tuple[int, ...] | None:
    """The column with the longest texts on average, if they look like sentences (15 characters or more)."""
    averages = []
    for column in range(len(header)):
        lengths = [len(as_text(row[column])) for row in below if column < len(row) and isinstance(row[column], str)]
        averages.append(sum(lengths) / len(below) if below else 0.0)
    best = max(range(len(header)), key=averages.__getitem__, default=-1)
    if best < 0 or averages[best] < 15 or not as_text(header[best]).strip():
        return None
    # a "name" as long as the texts below it is a text: the table has no header
    return (best,) if len(_folded(header[best])) < max(15, averages[best] / 2) else None


def _by_name(top: Sequence[Cells], text: Sequence[str]) -> tuple[int, tuple[int, ...]] | None:
    """(row of the header, text columns) by the names of columns."""
    widest = _widest(top)
    for number, cells in enumerate(top[:_HEADER_SEARCH]):
        if (text or _could_be_header(cells, widest)) and (found := _named_columns(cells, text)):
            return number, found
    return None


def _by_shape(top: Sequence[Cells], text: Sequence[str]) -> tuple[int, tuple[int, ...]] | None:
    """(row of the header, text columns): the first row of names as wide as the table, and its longest column."""
    widest = _widest(top)
    for number, cells in enumerate([] if text else top[:_HEADER_SEARCH]):
        if sum(bool(as_text(c).strip()) for c in cells) >= max(1, widest - 1) and _could_be_header(cells, widest):
            below = [row for row in top[number + 1 :] if not is_blank(row)]
            found = _longest_column(cells, below)
            return (number, found) if found else None
    return None


def _widest(top: Sequence[Cells]) -> int:
    """Cells that the fuller rows have: the ninth decile, so that one overlong row does not count."""
    widths = sorted(sum(bool(as_text(c).strip()) for c in row) for row in top if not is_blank(row))
    return widths[len(widths) * 9 // 10] if widths else 0


def _no_text_column(where: str, top: Sequence[Cells], text: Sequence[str]) -> TableError:
    shown = next((cells for cells in top if not is_blank(cells)), [])
    names = ", ".join(repr(as_text(c)[:40]) for c in shown[:12] if as_text(c).strip()) or "none"
    if text:
        missing = [name for name in text if _folded(name) not in {_folded(c) for cells in top for c in cells}]
        return TableError(f"{where}: no column {', '.join(repr(n) for n in missing or text)}; columns: {names}")
    return TableError(f"{where}: no text column found; name it with --text; columns: {names}")


def _assemble(
    found: tuple[int, tuple[int, ...]], top: list[Cells], rest: Iterator[Cells], remarks: Sequence[str], expected: int
) -> Sheet:
    at, columns = found
    header = [as_text(cell).strip() for cell in top[at]]
    chosen = [f"header: row {at + 1}"] if at else []
    chosen.append("text column: " + " + ".join(repr(header[i]) for i in columns))
    return Sheet(
        header=header,
        text_columns=columns,
        rows=(Row(cells) for cells in chain(top[at + 1 :], rest)),
        preamble=top[:at],
        expected=max(0, expected - at - 1),
        remarks=(*remarks, *chosen),
    )


# --- formats -----------------------------------------------------------------------------------------------------


def _delimiter(path: Path, lines: Sequence[str]) -> str:
    """The mark that cuts most of the first lines into the same number of cells, two or more."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    agreed = {}
    for mark in (",", "\t", ";", "|"):
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=mark) if len(row) > 1)
        agreed[mark] = widths.most_common(1)[0][1] if widths else 0
    return max(agreed, key=agreed.__getitem__)


def _whole_rows(path: Path, reader: Any) -> Iterator[Cells]:
    before = 0
    try:
        for row in reader:
            if reader.line_num - before > _MAX_LINES_OF_ROW:
                raise TableError(
                    f"{path}: line {before + 1}: one row spans {reader.line_num - before:,} lines; "
                    "a quotation mark is not closed"
                )
            before = reader.line_num
            yield row
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: {error}") from error


def _read_delimited(path: Path, text: Sequence[str], told: str | None) -> Sheet:
    encoding = detect(path, told)
    csv.field_size_limit(2**31 - 1)  # a proposal may be longer than the library's 131,072 characters
    with path.open("rb") as data:
        count = sum(chunk.count(b"\n") for chunk in iter(lambda: data.read(1 << 20), b""))
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as source:
        delimiter = _delimiter(path, list(islice((line.replace("\0", "") for line in source), 50)))

    def rows() -> Iterator[Cells]:
        with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as source:
            yield from _whole_rows(path, csv.reader((line.replace("\0", "") for line in source), delimiter=delimiter))

    stream = rows()
    top = list(islice(stream, _TOP))
    found = _by_name(top, text) or _by_shape(top, text)
    if found is None:
        raise _no_text_column(str(path), top, text)
    return _assemble(found, top, stream, [f"encoding: {encoding.name}"], count)


def _read_excel(path: Path, text: Sequence[str], wanted: str | None) -> Sheet:
    from python_calamine import CalamineError, CalamineWorkbook

    _refuse_bombs(path)
    try:
        workbook = CalamineWorkbook.from_path(path)
        if wanted is not None and wanted not in workbook.sheet_names:
            raise TableError(f"{path}: no sheet {wanted!r}; sheets: {', '.join(workbook.sheet_names)}")
        names = [wanted] if wanted is not None else workbook.sheet_names
        sheets = {name: workbook.get_sheet_by_name(name) for name in names}
        streams = {name: iter(sheet.iter_rows()) for name, sheet in sheets.items() if sheet.total_height}
        tops = {name: [list(cells) for cells in islice(stream, _TOP)] for name, stream in streams.items()}
    except CalamineError as error:
        raise TableError(f"{path}: not a readable Excel file: {error}") from error
    if not tops:
        raise TableError(f"{path}: " + (f"sheet {wanted!r} is empty" if wanted else "every sheet is empty"))
    for find in (_by_name, _by_shape):
        found = {name: at for name, top in tops.items() if (at := find(top, text))}
        if len(found) > 1:
            raise TableError(
                f"{path}: sheets {', '.join(map(repr, found))} each have a text column; name one with --sheet"
            )
        for name, at in found.items():
            left_out = [other for other in workbook.sheet_names if other != name]
            remarks = [f"sheet: {name}", *([f"not read: {', '.join(left_out)}"] if left_out else [])]
            return _assemble(
                at, tops[name], (list(cells) for cells in streams[name]), remarks, sheets[name].total_height
            )
    name, top = next(iter(tops.items()))
    raise _no_text_column(f"{path}, sheet {name!r}", top, text)


def _refuse_bombs(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise TableError(f"{path}: not a readable Excel file: {error}") from error
    if size > _MAX_UNPACKED:
        raise TableError(f"{path}: unpacks to {size / 2**30:.1f} GiB; refused (limit 1 GiB)")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"number {number} is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_line(line: str, number: int) -> Row:
    try:
        value = json.loads(line, parse_float=_finite, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # JSONDecodeError, numbers of thousands of digits, deep nesting
        reason = str(error).split(":")[0]
        return Row([], {"line": line.rstrip("\r\n")}, f"line {number} is not JSON: {reason}")
    return Row([], value) if isinstance(value, dict) else Row([], {"line": value}, f"line {number} is no JSON object")


def _read_json_lines(path: Path, text: Sequence[str], told: str | None) -> Sheet:
    encoding = detect(path, told)

    def records() -> Iterator[Row]:
        with path.open(encoding=encoding.name, errors=encoding.errors, newline="\n") as lines:
            yield from (_parse_line(line, number) for number, line in enumerate(lines, 1) if line.strip())

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
    rows = (_as_columns(row, names) for row in records())
    chosen = "text field: " + " + ".join(repr(names[i]) for i in columns)
    return Sheet(names, columns, rows, expected=count, remarks=(f"encoding: {encoding.name}", chosen))


def _as_columns(row: Row, names: Sequence[str]) -> Row:
    if row.fault:
        return row
    record = row.record or {}
    return Row([record.get(name, "") for name in names], record)


def unique_names(names: Iterable[str]) -> list[str]:
    """Column names none of which is blank or taken: ``备注, 备注, ""`` → ``备注, 备注_2, column_3``."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        found.append(free_name(name or f"column_{number}", found))
    return found


def free_name(name: str, taken: Sequence[str]) -> str:
    """``name``, or ``name_2``, ``name_3`` … if a column is called so already."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
