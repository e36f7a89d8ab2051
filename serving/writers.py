"""Writing tagged tables: whole or not at all, and never a live formula that came in as text."""

from __future__ import annotations

import csv
import datetime
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from duibiao.data.errors import TableError
from duibiao.text import clean

from .tables import DELIMITED, JSON_LINES, Cells, Row, as_text, free_name, plain_number, unique_names

# At the start, and behind a mark at which a spreadsheet of another locale would split the cell.
_FORMULA = re.compile(r"(?:^|[;\t])\s*[=+\-@＝＋－＠]|^[\t\r\n]")
_NUMBER = re.compile(r"^[+\-]?[\d,.\s]*\d%?$|^[+\-]?\d[\d\- ]*$")
_EXCEL_ROWS = 1_048_576


class Writer(Protocol):
    """Takes a table row by row."""

    cell_limit: int | None
    """Characters that a cell can hold; longer ones are cut."""

    def header(self, preamble: Sequence[Cells], names: Sequence[str], added: Sequence[str]) -> None:
        """Rows above the header, the original columns' names, the added columns' names."""
        ...

    def row(self, row: Row, added: Sequence[Any], tags: dict[str, Any]) -> None:
        """One row with what was added: as cells, and as the object that JSON Lines gets."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def abandon(self) -> None:
        """Let go of the file, which is not wanted any more."""
        ...


def neutralise(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula (OWASP, CSV injection). Numbers stay."""
    if isinstance(value, str) and _FORMULA.search(value) and not _NUMBER.match(value):
        return "'" + value
    return value


def lay_out(row: Row, width: int, added: Sequence[Any]) -> Cells:
    """Original cells padded to the header, then what was added, then cells beyond the header if there are any."""
    cells = [*row.cells[:width], *[""] * (width - len(row.cells))]
    if row.fault and row.record and not row.cells and width:
        cells[0] = as_text(row.record.get("line", ""))
    return [*cells, *added, *row.cells[width:]]


class _DelimitedWriter:
    cell_limit: int | None = None

    def __init__(self, path: Path, *, raw: bool, delimiter: str) -> None:
        # The mark lets Excel see that the file is UTF-8; quotes keep a cell together where Excel splits at semicolons.
        self._file = path.open("w", encoding="utf-8" if raw else "utf-8-sig", newline="")
        self._writer = csv.writer(self._file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if raw else csv.QUOTE_ALL)
        self._raw, self._width = raw, 0

    def _write(self, cells: Sequence[Any]) -> None:
        texts = [clean(as_text(cell)) for cell in cells]
        self._writer.writerow(texts if self._raw else [neutralise(text) for text in texts])

    def header(self, preamble: Sequence[Cells], names: Sequence[str], added: Sequence[str]) -> None:
        self._width = len(names)
        for cells in preamble:
            self._write(cells)
        self._write([*names, *added])

    def row(self, row: Row, added: Sequence[Any], tags: dict[str, Any]) -> None:
        self._write(lay_out(row, self._width, added))

    def close(self) -> None:
        self._file.close()

    abandon = close


class _ExcelWriter:
    cell_limit: int | None = 32_767

    def __init__(self, path: Path) -> None:
        import xlsxwriter

        self._fault = xlsxwriter.exceptions.XlsxWriterException
        options = {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(str(path), options)
        self._sheet = self._book.add_worksheet("duibiao")
        self._bold = self._book.add_format({"bold": True, "bg_color": "#E8EEF7", "text_wrap": True, "valign": "top"})
        self._top = self._book.add_format({"valign": "top"})
        self._date = self._book.add_format({"num_format": "yyyy-mm-dd", "valign": "top"})
        self._datetime = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "valign": "top"})
        self._at, self._first, self._columns = 0, 0, 0
        self._width = 0

    def _write(self, cells: Sequence[Any], style: Any = None) -> None:
        if self._at >= _EXCEL_ROWS:
            raise TableError(f"more than {_EXCEL_ROWS:,} rows do not fit in one Excel sheet; write .csv")
        for column, cell in enumerate(cells):
            if isinstance(cell, datetime.datetime):
                self._sheet.write_datetime(self._at, column, cell.replace(tzinfo=None), self._datetime)
            elif isinstance(cell, datetime.date):
                self._sheet.write_datetime(self._at, column, cell, self._date)
            elif isinstance(cell, bool):
                self._sheet.write_boolean(self._at, column, cell, style or self._top)
            elif isinstance(cell, (int, float)) and abs(cell) < 1e15:
                self._sheet.write_number(self._at, column, cell, style or self._top)
            elif text := clean(as_text(cell)):
                self._sheet.write_string(self._at, column, text[: self.cell_limit], style or self._top)
        self._at += 1

    def header(self, preamble: Sequence[Cells], names: Sequence[str], added: Sequence[str]) -> None:
        self._width, self._columns = len(names), len(names) + len(added)
        for column, name in enumerate([*names, *added]):
            self._sheet.set_column(column, column, 28 if column >= len(names) else min(48, max(12, 2 * len(name))))
        for cells in preamble:
            self._write(cells)
        self._write([*names, *added], self._bold)
        self._first = self._at
        self._sheet.freeze_panes(self._at, 0)

    def row(self, row: Row, added: Sequence[Any], tags: dict[str, Any]) -> None:
        self._write(lay_out(row, self._width, added))

    def close(self) -> None:
        if self._at > self._first:
            self._sheet.autofilter(self._first - 1, 0, self._at - 1, self._columns - 1)
        try:
            self._book.close()
        except self._fault as error:  # it wraps a full disk, among others
            raise OSError(str(error)) from error

    def abandon(self) -> None:
        self._sheet._opt_close()  # the rows' temporary file; closing the book would assemble it for nothing


class _JsonLinesWriter:
    cell_limit: int | None = None

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._names: list[str] = []

    def header(self, preamble: Sequence[Cells], names: Sequence[str], added: Sequence[str]) -> None:
        self._names = unique_names(names)

    def row(self, row: Row, added: Sequence[Any], tags: dict[str, Any]) -> None:
        record = row.record
        if record is None:
            names = [*self._names, *(f"column_{n + 1}" for n in range(len(self._names), len(row.cells)))]
            record = {name: plain_number(cell) for name, cell in zip(unique_names(names), row.cells, strict=False)}
        tagged = record | {free_name("duibiao", list(record)): tags}
        line = json.dumps(tagged, ensure_ascii=False, default=str)
        try:
            line.encode()
        except UnicodeEncodeError:  # a lone surrogate survives only as an escape
            line = json.dumps(tagged, default=str)
        self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()

    abandon = close


def _open(path: Path, kind: str, raw_csv: bool) -> Writer:
    if kind == ".xlsx":
        return _ExcelWriter(path)
    if kind in JSON_LINES:
        return _JsonLinesWriter(path)
    return _DelimitedWriter(path, raw=raw_csv, delimiter="\t" if kind == ".tsv" else ",")


@contextmanager
def write_whole(path: Path, *, raw_csv: bool = False) -> Iterator[Writer]:
    """A writer for ``path`` by its ending; the file appears only when everything was written.

    Raises :class:`~duibiao.TableError` for an unknown ending or a folder that cannot be written to.
    """
    kind = path.suffix.lower()
    if kind not in (*DELIMITED, *JSON_LINES, ".xlsx"):
        raise TableError(f"{path}: cannot write {kind or 'a file without an ending'}; use .xlsx, .csv, .tsv or .jsonl")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".part", dir=path.parent)
    except OSError as error:
        raise TableError(f"{path}: cannot write there: {error.strerror}") from error
    os.close(handle)
    part = Path(name)
    try:
        writer = _open(part, kind, raw_csv)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        raise TableError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
