"""Build the text table of the bilingual encoder and its first embeddings, with no training.

A Chinese row starts as the mean of its English glosses' input embeddings in the English encoder (dictionary
initialisation), an English word as the mean of its WordPiece embeddings, so that both languages start in one space.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from duibiao.data.errors import MissingExtraError
from duibiao.text import SPECIAL, TextTable, pieces
from duibiao.training import corpus

_HAN = re.compile("[\u3400-\u9fff]")
_HAN_RUN = re.compile("[\u3400-\u9fff]+")
_PUNCTUATION = "!%&'()+,-./:;?@$"
# Chinese and typographic punctuation read as its plain counterpart; NFKC covers the full-width forms.
_PUNCTUATION_ALIASES = {
    "。": ".",
    "、": ",",
    "；": ";",
    "：": ":",
    "“": "'",
    "”": "'",
    "‘": "'",
    "’": "'",
    "《": "'",
    "》": "'",
    "「": "'",
    "」": "'",
    "『": "'",
    "』": "'",
    "【": "(",
    "】": ")",
    "—": "-",
    "–": "-",
    "…": ".",
    "～": "-",
    "￥": "$",
    "€": "$",
    "£": "$",
}


@dataclass(frozen=True)
class Sizes:
    """How many rows the table has."""

    words: int = 18_000
    shared_words: int = 40_000
    characters: int = 6_000
    pairs: int = 17_000


Matrix = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Matrix]
"""Texts → mean input embedding of each, ``float32 [texts, width]``."""


def _count(folder: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    english = (
        text for name in ("en", "parallel") for r in corpus.read(folder, name) for text in [r.get("text") or r["en"]]
    )
    for text in track(english, "counting English", total=None):
        words.update(piece.lower() for piece in pieces(text) if piece.isascii() and piece.isalpha())
    chinese = (
        text for name in ("zh", "parallel") for r in corpus.read(folder, name) for text in [r.get("text") or r["zh"]]
    )
    for text in track(chinese, "counting Chinese", total=None):
        for run in _HAN_RUN.findall(text):
            characters.update(run)
            pairs.update(a + b for a, b in pairwise(run))
    return words, characters, pairs


_NOISE = re.compile(
    r"\([^)]*\)|\b(?:abbr\. for|CL:|see|variant of|used in|old variant|surname|sb|sth)\b.*?(?=[;,]|$)|[^\x00-\x7f]+"
)


def _glosses(folder: Path) -> dict[str, list[str]]:
    """Chinese headword → up to four short English glosses."""
    result: dict[str, list[str]] = {}
    for record in corpus.read(folder, "dictionary"):
        cleaned = (
            _NOISE.sub(" ", gloss.replace("to ", "", 1) if gloss.startswith("to ") else gloss).strip(" ;,")
            for gloss in record["en"]
        )
        glosses = [gloss for gloss in cleaned if 1 < len(gloss) < 60]
        kept = result.setdefault(record["zh"], [])
        kept.extend(glosses[: 4 - len(kept)])
    return {word: glosses for word, glosses in result.items() if glosses}


def _pair_glosses(pairs: Iterable[str], glosses: dict[str, list[str]]) -> dict[str, list[str]]:
    """Glosses of two-character strings: their own, else those of longer words they stand in (器人 → robot)."""
    inside: dict[str, list[str]] = {}
    for word in glosses:
        if 3 <= len(word) <= 5:
            for a, b in pairwise(word):
                inside.setdefault(a + b, []).append(word)
    found = {}
    for pair in pairs:
        if pair in glosses:
            found[pair] = glosses[pair]
        elif words := inside.get(pair):
            found[pair] = [glosses[word][0] for word in words[:4]]
    return found


def _aliases(characters: set[str]) -> dict[str, str]:
    """Traditional → Simplified, compatibility forms, accented letters and punctuation → the token they read as."""
    try:
        import opencc
    except ImportError:
        raise MissingExtraError("pretrain", "opencc") from None
    simplify = opencc.OpenCC("t2s").convert
    aliases = {k: v for k, v in _PUNCTUATION_ALIASES.items() if v in _PUNCTUATION}
    for code in (
        *range(0x3400, 0xA000),
        *range(0xF900, 0xFB00),
        *range(0xFF01, 0xFF60),
        *range(0xC0, 0x250),
        *range(0x2E80, 0x2FE0),
    ):
        char = chr(code)
        plain = (
            unicodedata.normalize("NFKD", char)[:1].lower()
            if code < 0x250
            else unicodedata.normalize("NFKC", char).lower()
        )
        plain = simplify(plain)
        if char not in characters and plain != char and plain in characters:
            aliases[char] = plain
    return aliases


def _common(a: str, b: str) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _share_rows(rare: Iterable[str], frequent: Iterable[str]) -> dict[str, str]:
    """Map each rare word to the frequent word it shares the longest stem with (currencies → currency)."""
    by_stem: dict[str, list[str]] = {}
    for word in frequent:
        by_stem.setdefault(word[:4], []).append(word)
    shared: dict[str, str] = {}
    for word in rare:
        kin = [(_common(word, other), -len(other), other) for other in by_stem.get(word[:4], ())]
        if kin and max(kin)[0] >= 0.6 * len(word):
            shared[word] = max(kin)[2]
    return shared


def build(folder: Path, embed: Embed, sizes: Sizes = Sizes()) -> tuple[TextTable, Matrix]:
    """Return the table and its first embeddings, ``float32 [table.rows, width]``.

    ``folder`` holds the corpus; ``embed`` gives the English encoder's mean input embedding of each text.
    """
    word_counts, char_counts, pair_counts = _count(folder)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    ranked = [w for w, n in word_counts.most_common() if n >= 5 and 1 < len(w) <= 24]
    words = letters + ranked[: sizes.words]
    characters = [c for c, n in char_counts.most_common(sizes.characters) if n >= 2]
    digits = [str(d) for d in range(10)]
    tokens = (*SPECIAL, *_PUNCTUATION, *digits, *words, *characters)

    glosses = _glosses(folder)
    known = set(characters)
    frequent = [p for p, n in pair_counts.most_common(400_000) if n >= 10 and known.issuperset(p)]
    pair_gloss = _pair_glosses(frequent, glosses)
    total = sum(char_counts.values())

    def sticks(
        pair: str,
    ) -> bool:  # pointwise mutual information: 赋能 and 算力 are words although no dictionary has them
        expected = char_counts[pair[0]] * char_counts[pair[1]] / total
        return pair_counts[pair] > 30 * expected and pair_counts[pair] >= 400

    pairs = [p for p in frequent if p in pair_gloss or sticks(p)][: sizes.pairs]
    aliases = _share_rows(ranked[sizes.words : sizes.words + sizes.shared_words], ranked[: sizes.words]) | _aliases(
        set(tokens)
    )
    table = TextTable(
        tokens, {k: v for k, v in aliases.items() if k not in set(tokens)}, tuple((p[0], p[1]) for p in pairs)
    )

    fallback = embed(["something"])[0]
    english = {t: v for t, v in zip(words, embed(words), strict=True)}
    symbols = {t: v for t, v in zip((*_PUNCTUATION, *digits), embed([*_PUNCTUATION, *digits]), strict=True)}
    special = dict(zip(SPECIAL, embed(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "12", "2020"]), strict=True))

    def gloss_mean(texts: Sequence[str]) -> Matrix:
        mean: Matrix = embed(texts).mean(axis=0)
        return mean

    chinese = {c: gloss_mean(glosses[c]) if c in glosses else fallback for c in track(characters, "characters")}
    paired = [
        gloss_mean(pair_gloss[p]) if p in pair_gloss else (chinese[p[0]] + chinese[p[1]]) / 2
        for p in track(pairs, "pairs")
    ]
    single = special | symbols | english | chinese
    return table, np.stack([*(single[t] for t in tokens), *paired]).astype(np.float32)
