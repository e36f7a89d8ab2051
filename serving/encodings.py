"""Which encoding a text file is in: byte-order mark, else strict UTF-8, else strict GB18030; never a silent guess."""

from __future__ import annotations

import codecs
import io
import re
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


def _sample(path: Path, name: str) -> str:
    with path.open("rb") as data:
        return data.read(_CHUNK).decode(name, "replace")


def _share_of_utf8(path: Path) -> float:
    """Share of the non-ASCII characters of the file's first megabyte that are sound UTF-8."""
    text = _sample(path, "utf-8")
    other = sum(not c.isascii() for c in text)
    return 1 - text.count("\ufffd") / other if other else 1.0


_HAN = re.compile("[\u3400-\u9fff\ue000-\uf8ff]")
_ALONE = re.compile("(?<=[A-Za-z])[\u3400-\u9fff\ue000-\uf8ff](?=[A-Za-z ])")


def _is_common(han: str) -> bool:
    """Whether a character is among the 3,755 most common ones (level 1 of GB 2312)."""
    code = han.encode("gb2312", "ignore")
    return len(code) == 2 and 0xB0 <= code[0] <= 0xD7


def _reads_as_chinese(path: Path) -> bool:
    """Whether what GB18030 decodes looks like Chinese; it accepts Big5 and Western bytes too, as nonsense.

    Simplified text has nearly all of its characters among the most common, Traditional text in GB18030 about half,
    misread Big5 a quarter and private-use characters; misread Western text has single characters inside words.
    """
    text = _sample(path, "gb18030")
    han = _HAN.findall(text)
    if not han:
        return True
    private = sum("\ue000" <= c <= "\uf8ff" for c in han) / len(han)
    common = sum(_is_common(c) for c in han) / len(han)
    return private < 0.02 and common > 0.35 and len(_ALONE.findall(text)) < 0.5 * len(han)


def _place(path: Path, offset: int) -> str:
    with path.open("rb") as data:
        line = data.read(offset).count(b"\n") + 1
    return f"byte {offset} (line {line})"


def _told(path: Path, name: str) -> Encoding:
    try:
        io.TextIOWrapper(io.BytesIO(b"a"), encoding=name, errors="replace").read()
    except (LookupError, UnicodeError):
        raise TableError(f"{path}: {name!r} is no encoding of text that is known") from None
    return Encoding("utf-8-sig" if codecs.lookup(name).name == "utf-8" else name, "replace")


def _wide(path: Path) -> Encoding | None:
    """UTF-16 without a byte-order mark: many NUL bytes, which no other text has."""
    with path.open("rb") as data:
        head = data.read(4096)
    if head.count(0) * 20 <= len(head):
        return None
    name = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
    if _first_fault(path, name) is not None:
        raise TableError(f"{path}: is not text in any encoding that can be told apart; {_TELL}")
    return Encoding(name)


def detect(path: Path, told: str | None = None) -> Encoding:
    """Encoding of ``path``; raises :class:`~duibiao.TableError` where only a person can tell."""
    if told is not None:
        return _told(path, told)
    with path.open("rb") as data:
        head = data.read(4)
    for mark, name in _MARKS:
        if head.startswith(mark):
            if (fault := _first_fault(path, name)) is not None:
                raise TableError(f"{path}: starts like {name} but {_place(path, fault)} is not; {_TELL}")
            return Encoding(name)
    if wide := _wide(path):
        return wide
    fault = _first_fault(path, "utf-8")
    if fault is None:
        return Encoding("utf-8")
    if _share_of_utf8(path) > 0.9:  # strict GB18030 would accept much of it, as nonsense
        raise TableError(
            f"{path}: is UTF-8 but for {_place(path, fault)}; mend it, or read on with --encoding utf-8, "
            "which replaces such bytes"
        )
    if _first_fault(path, "gb18030") is None and _reads_as_chinese(path):
        return Encoding("gb18030")
    raise TableError(f"{path}: is neither UTF-8 nor GB18030 ({_place(path, fault)}); Big5 or cp1252, perhaps? {_TELL}")
