"""The label set as data: six domains, fourteen support areas, and their roll-up to the fourteen numbered sections."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

from .errors import TaxonomyError

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")


@dataclass(frozen=True)
class Text:
    """The same words in Chinese and English."""

    zh: str
    en: str

    def __getitem__(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Clause:
    """A numbered clause of the Opinions, such as ``二(二)3``, with its heading."""

    id: str
    heading: Text


@dataclass(frozen=True)
class Label:
    """One label: the gate, a domain or a support area."""

    id: str
    name: Text
    definition: Text
    section: int | None = None
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True)
class Section:
    """One of the fourteen numbered sections, (一) to (十四)."""

    number: int
    ordinal: str
    name: Text


@dataclass(frozen=True)
class Taxonomy:
    """The label set. Column order everywhere is :attr:`label_ids`: gate, domains, supports."""

    version: str
    source: Text
    gate: Label
    domains: tuple[Label, ...]
    supports: tuple[Label, ...]
    sections: tuple[Section, ...]

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Gate, domains, supports: the order of every score column."""
        return (self.gate, *self.domains, *self.supports)

    @cached_property
    def label_ids(self) -> tuple[str, ...]:
        """Ids of :attr:`labels`."""
        return tuple(label.id for label in self.labels)

    @cached_property
    def domain_ids(self) -> tuple[str, ...]:
        """Ids of the domains."""
        return tuple(label.id for label in self.domains)

    @cached_property
    def support_ids(self) -> tuple[str, ...]:
        """Ids of the support areas."""
        return tuple(label.id for label in self.supports)

    @cached_property
    def _by_id(self) -> dict[str, Label]:
        return {label.id: label for label in self.labels}

    def __getitem__(self, label_id: str) -> Label:
        """The label with this id; raises :class:`TaxonomyError` for an id that does not exist."""
        try:
            return self._by_id[label_id]
        except KeyError:
            raise TaxonomyError(f"unknown label {label_id!r}; known: {', '.join(self.label_ids)}") from None

    def sections_of(self, label_ids: Iterable[str]) -> tuple[int, ...]:
        """Numbers (1-14) of the sections that any of the labels stands under, ascending."""
        return tuple(sorted({section for i in label_ids if (section := self[i].section) is not None}))

    def encode(self, aligned: bool, domains: Sequence[str], supports: Sequence[str]) -> list[int]:
        """Multi-hot row in the order of :attr:`label_ids`."""
        present = {*domains, *supports}
        for label_id in present:
            self[label_id]
        return [int(aligned), *(int(i in present) for i in (*self.domain_ids, *self.support_ids))]


class _Reader:
    """Takes fields out of parsed JSON; every complaint names the path of the field."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def fail(self, path: str, what: str) -> TaxonomyError:
        return TaxonomyError(f"{self.origin}: field '{path}' {what}")

    def get(self, node: Any, path: str, key: str, kind: type) -> Any:
        where = f"{path}.{key}" if path else key
        if not isinstance(node, dict) or key not in node:
            raise self.fail(where, "is missing")
        value = node[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.fail(where, f"must be {kind.__name__}, not {type(value).__name__}")
        if value in ("", []):
            raise self.fail(where, "is empty")
        return value

    def text(self, node: Any, path: str, key: str) -> Text:
        pair = self.get(node, path, key, dict)
        where = f"{path}.{key}" if path else key
        return Text(self.get(pair, where, "zh", str), self.get(pair, where, "en", str))

    def clause(self, node: Any, path: str) -> Clause:
        return Clause(self.get(node, path, "id", str), self.text(node, path, "heading"))

    def label(self, node: Any, path: str, *, section: bool, clauses: bool) -> Label:
        number = self.get(node, path, "section", int) if section else None
        if number is not None and not 1 <= number <= 14:
            raise self.fail(f"{path}.section", f"must be 1 to 14, not {number}")
        found = self.get(node, path, "clauses", list) if clauses else []
        return Label(
            id=self.get(node, path, "id", str),
            name=self.text(node, path, "name"),
            definition=self.text(node, path, "definition"),
            section=number,
            clauses=tuple(self.clause(c, f"{path}.clauses[{i}]") for i, c in enumerate(found)),
        )

    def taxonomy(self, root: Any) -> Taxonomy:
        def each(key: str) -> Iterable[tuple[Any, str]]:
            return ((node, f"{key}[{i}]") for i, node in enumerate(self.get(root, "", key, list)))

        result = Taxonomy(
            version=self.get(root, "", "version", str),
            source=self.text(root, "", "source"),
            gate=self.label(self.get(root, "", "gate", dict), "gate", section=False, clauses=False),
            domains=tuple(self.label(n, p, section=True, clauses=True) for n, p in each("domains")),
            supports=tuple(self.label(n, p, section=True, clauses=False) for n, p in each("supports")),
            sections=tuple(
                Section(self.get(n, p, "number", int), self.get(n, p, "ordinal", str), self.text(n, p, "name"))
                for n, p in each("sections")
            ),
        )
        self.check(result)
        return result

    def check(self, taxonomy: Taxonomy) -> None:
        paths = ["gate.id", *(f"domains[{i}].id" for i in range(len(taxonomy.domains)))]
        paths += [f"supports[{i}].id" for i in range(len(taxonomy.supports))]
        seen: dict[str, str] = {}
        for path, label in zip(paths, taxonomy.labels, strict=True):
            if label.id in seen:
                raise self.fail(path, f"repeats {label.id!r} of '{seen[label.id]}'")
            seen[label.id] = path
        numbers = [s.number for s in taxonomy.sections]
        if numbers != list(range(1, 15)):
            raise self.fail("sections", f"must be numbered 1 to 14 in order, not {numbers}")
        covered = taxonomy.sections_of(i for i in taxonomy.label_ids if i != taxonomy.gate.id)
        if missing := sorted(set(numbers) - set(covered)):
            raise self.fail("sections", f"section {missing[0]} has no label")


def parse_taxonomy(text: str, origin: str = "taxonomy") -> Taxonomy:
    """Parse and validate a label-set file; raises :class:`TaxonomyError` that names the field at fault."""
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaxonomyError(f"{origin}: not JSON: line {error.lineno}: {error.msg}") from error
    return _Reader(origin).taxonomy(root)


@cache
def load_taxonomy() -> Taxonomy:
    """The label set that ships with duibiao."""
    return parse_taxonomy((files("duibiao.data") / "taxonomy.json").read_text(encoding="utf-8"), "taxonomy.json")
