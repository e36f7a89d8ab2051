"""Which encoding a text file is in: byte-order mark, else strict UTF-8, else strict GB18030; never a silent guess."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from duibiao.data.errors import TableError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CHUNK = 1 << 20
_TELL = "name the encoding with --encoding"


@dataclass(frozen=True)
class Encoding:
    """A codec name, and whether bytes that do not fit are replaced (only where a person named the codec)."""

    name: str
    errors: str = "strict"


def _first_fault(path: Path, name: str) -> int | None:
    """Offset near the first byte that is not ``name``, or None if the whole file decodes."""
    decoder = codecs.getincrementaldecoder(name)("strict")
    done = 0
    with path.open("rb") as data:
        while chunk := data.read(_CHUNK):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return done + error.start
            done += len(chunk)
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return done
    return None


def _share_of_utf8(path: Path) -> float:
    """Share of the non-ASCII characters of the file's first megabyte that are sound UTF-8."""
    with path.open("rb") as data:
        text = data.read(_CHUNK).decode("utf-8", "replace")
    other = sum(not c.isascii() for c in text)
    return 1 - text.count("\ufffd") / other if other else 1.0


def _place(path: Path, offset: int) -> str:
    with path.open("rb") as data:
        line = data.read(offset).count(b"\n") + 1
    return f"byte {offset} (line {line})"


def _name(path: Path) -> Encoding | None:
    """The encoding that a byte-order mark, or NUL bytes, give away."""
    with path.open("rb") as data:
        head = data.read(4096)
    for mark, name in _MARKS:
        if head.startswith(mark):
            fault = _first_fault(path, name)
            if fault is not None:
                raise TableError(f"{path}: starts like {name} but {_place(path, fault)} is not; {_TELL}")
            return Encoding(name)
    if b"\0" in head:  # text has no NUL: two-byte code units
        name = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        if _first_fault(path, name) is None:
            return Encoding(name)
        raise TableError(f"{path}: is not text in any encoding that can be told apart; {_TELL}")
    return None


def detect(path: Path, told: str | None = None) -> Encoding:
    """Encoding of ``path``; raises :class:`~duibiao.TableError` where only a person can tell."""
    if told is not None:
        try:
            codecs.lookup(told)
        except LookupError:
            raise TableError(f"unknown encoding {told!r}") from None
        return Encoding(told, "replace")
    if marked := _name(path):
        return marked
    fault = _first_fault(path, "utf-8")
    if fault is None:
        return Encoding("utf-8")
    if _share_of_utf8(path) > 0.9:  # strict GB18030 would accept much of it, as nonsense
        raise TableError(
            f"{path}: is UTF-8 but for {_place(path, fault)}; mend it, or read on with --encoding utf-8, "
            "which replaces such bytes"
        )
    if _first_fault(path, "gb18030") is None:
        return Encoding("gb18030")
    raise TableError(f"{path}: is neither UTF-8 nor GB18030 ({_place(path, fault)}); {_TELL}")
