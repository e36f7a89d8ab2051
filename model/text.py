"""The one text path: proposal text → table rows.

Text is cut by one regular expression and each piece is looked up in one table. Case, full width and
Traditional characters are rows of that table, not code, so training (here, in Python) and the exported
graph (``com.microsoft.Tokenizer`` + ``ai.onnx.ml.LabelEncoder``) share a definition instead of
re-implementing each other; ``tests/test_text.py`` holds the two to identical ids.

A Chinese character is one piece; a *pair* is two neighbouring pieces that together have a row of their own
(人工, 数据), which carries most of the meaning of a Chinese word without a segmenter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from duibiao.data.errors import BundleError
from duibiao.data.taxonomy import Language

# Code points that separate pieces and carry none: ASCII controls and space, decoration that tables and lists
# bring along, Unicode spaces, zero-width and direction marks, box drawing, variation selectors, the BOM.
_SEPARATORS = (
    r"\x00-\x20\x22\x23\x2a\x3c-\x3e\x5b-\x60\x7b-\x7f"
    "\u0080-\u00a0\u00ad\u00b7\u1680\u2000-\u200f\u2022\u2028-\u202f\u205f-\u206f\u2500-\u259f\u25a0-\u25ff"
    "\u3000\ufe00-\ufe0f\ufeff\ufffc-\uffff"
)
_UPPER, _LOWER, _DIGIT = "A-ZＡ-Ｚ", "a-zａ-ｚ", "0-9０-９"

PATTERN = f"[{_UPPER}]?[{_LOWER}]+|[{_UPPER}]+|[{_DIGIT}]{{1,4}}|[^{_SEPARATORS}{_UPPER}{_LOWER}{_DIGIT}]"
"""Read alike by Python's ``re`` and by RE2 (onnxruntime): classes are spelled out, alternatives start differently
or are prefixes that the greedy first one wins, so leftmost-first equals leftmost-longest."""

PAD, UNKNOWN, START, END, NUMBER, YEAR = "<pad>", "<unk>", "<s>", "</s>", "<number>", "<year>"
SPECIAL = (PAD, UNKNOWN, START, END, NUMBER, YEAR)
PAD_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3

PAIR_BASE = 1 << 20
"""A pair's key is ``left_row * PAIR_BASE + right_row``, an int64 in training and in the graph."""

_PIECES = re.compile(PATTERN)
_WIDE_LENGTH = 5  # longer words are not written in full width, and their spellings would weigh megabytes
_TO_WIDE = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}


def pieces(text: str) -> list[str]:
    """Cut ``text`` into pieces: English words (CamelCase parted), up to four digits, or single other characters."""
    return _PIECES.findall(text)


def clean(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 runtime accepts, by U+FFFD and cut nothing else."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def language_of(text: str) -> Language:
    """``zh`` if at least a third of the letters are Chinese characters, else ``en``."""
    letters = [c for c in text if c.isalpha()]
    han = sum("\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" for c in letters)
    return "zh" if letters and 3 * han >= len(letters) else "en"


def window_bounds(length: int, window: int) -> list[tuple[int, int]]:
    """Cut ``length`` ids into the fewest windows of at most ``window``, of nearly equal size; at least one window.

    The exported graph computes the same bounds with integer operations.
    """
    count = max(1, -(-length // window))
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


def _spellings(piece: str) -> Iterable[str]:
    """Every way a lower-case piece may be spelled: case, and full width where that occurs (ＡＩ, ５Ｇ)."""
    if not piece.isascii() or not piece.isalnum():
        yield piece
        return
    for cased in dict.fromkeys((piece, piece.upper(), piece.capitalize())):  # in order, so that a file can be remade
        yield cased
        if len(piece) <= _WIDE_LENGTH:
            yield cased.translate(_TO_WIDE)


def _numbers() -> Iterable[tuple[str, str]]:
    """Rows for runs of two to four digits: a year or just a number. Amounts must not move a tag."""
    for width in (2, 3, 4):
        for value in range(10**width):
            digits = f"{value:0{width}d}"
            kind = YEAR if width == 4 and 1900 <= value < 2100 else NUMBER
            yield digits, kind
            yield digits.translate(_TO_WIDE), kind


@dataclass(frozen=True)
class TextTable:
    """Rows of the embedding table and what maps to them.

    ``tokens`` are canonical pieces (lower case, half width, Simplified); a token's row is its index. ``aliases``
    maps other pieces to a token (Traditional characters, punctuation, rare words that share a row). ``pairs`` are
    two-token strings; their rows follow the tokens'.
    """

    tokens: tuple[str, ...]
    aliases: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if self.tokens[: len(SPECIAL)] != SPECIAL:
            raise BundleError(f"text table: 'tokens' must start with {SPECIAL}")
        known = set(self.tokens)
        if len(known) != len(self.tokens):
            raise BundleError("text table: 'tokens' has a token twice")
        for source, target in self.aliases.items():
            if target not in known:
                raise BundleError(f"text table: 'aliases' maps {source!r} to {target!r}, which is no token")
        for pair in self.pairs:
            if not known.issuperset(pair):
                raise BundleError(f"text table: 'pairs' has {pair!r}, of which a part is no token")

    @property
    def rows(self) -> int:
        """Number of rows of the embedding table: tokens, then pairs."""
        return len(self.tokens) + len(self.pairs)

    @property
    def first_word(self) -> int:
        """First row of a word or a Chinese character; punctuation, digits and single letters stand before it."""
        return next(
            (i for i, t in enumerate(self.tokens) if t.isalpha() and (len(t) > 1 or not t.isascii())), self.rows
        )

    @cached_property
    def ids(self) -> dict[str, int]:
        """Every piece that the table knows → row; the very mapping that the graph's LabelEncoder holds."""
        row = {token: i for i, token in enumerate(self.tokens)}
        table = dict(_numbers_to_rows(row))
        for source, target in self.aliases.items():
            for spelling in _spellings(source):
                table[spelling] = row[target]
        for token in self.tokens[len(SPECIAL) :]:
            for spelling in _spellings(token):
                table[spelling] = row[token]
        return table

    @cached_property
    def pair_ids(self) -> dict[int, int]:
        """Pair key → row; see :data:`PAIR_BASE`."""
        row = {token: i for i, token in enumerate(self.tokens)}
        first = len(self.tokens)
        return {row[a] * PAIR_BASE + row[b]: first + i for i, (a, b) in enumerate(self.pairs)}

    def encode(self, text: str) -> list[int]:
        """Rows of the pieces of ``text``, without start and end; unknown pieces are ``UNKNOWN_ID``."""
        get = self.ids.get
        return [get(piece, UNKNOWN_ID) for piece in pieces(clean(text))]

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        body = {"tokens": self.tokens, "aliases": dict(self.aliases), "pairs": [" ".join(p) for p in self.pairs]}
        path.write_text(json.dumps(body, ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TextTable:
        """Read a table that :meth:`save` wrote; raises :class:`BundleError` naming the field at fault."""
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            pairs = tuple((a, b) for a, b in (pair.split(" ") for pair in body["pairs"]))
            return cls(tuple(body["tokens"]), body["aliases"], pairs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"text table {path}: {error}") from error


def _numbers_to_rows(row: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    for digits, kind in _numbers():
        yield digits, row[kind]
