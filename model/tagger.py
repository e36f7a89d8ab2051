"""The Python API: ``Tagger.load().tag("…")``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from duibiao.bundle import Bundle
from duibiao.data.taxonomy import Taxonomy
from duibiao.runtime import Output, Runtime, open_runtime

_CHUNK = 16
"""Texts a worker takes at a time: enough to hide the call, few enough to keep all workers busy to the end."""


class Scores(Mapping[str, float]):
    """Probability of every label and of the gate, by id; read-only, hashable, in label order."""

    __slots__ = ("_labels", "_values")

    def __init__(self, labels: tuple[str, ...], values: tuple[float, ...]) -> None:
        self._labels, self._values = labels, values

    def __getitem__(self, label_id: str) -> float:
        try:
            return self._values[self._labels.index(label_id)]
        except ValueError:
            raise KeyError(label_id) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __hash__(self) -> int:
        return hash((self._labels, self._values))

    def __repr__(self) -> str:
        return f"Scores({', '.join(f'{k}={v:.3f}' for k, v in self.items())})"


@dataclass(frozen=True)
class Tags:
    """What one proposal serves."""

    aligned: bool
    """Whether it is about AI at all, in the Opinions' broad sense."""
    domains: tuple[str, ...]
    """Ids of the action domains, most probable first."""
    supports: tuple[str, ...]
    """Ids of the support areas, most probable first."""
    sections: tuple[int, ...]
    """Numbers 1-14 of the Opinions' sections that the labels stand under, ascending."""
    scores: Scores
    """Probability of every label id and of ``aligned``."""
    needs_review: bool
    """True where a person should look: a close call, decisions that do not fit together, or an unreadable text."""
    readable: bool
    """False where the text is empty or mostly in a script that the model does not know; it then has no tags."""
    model_version: str
    taxonomy_version: str


class Tagger:
    """Tags proposals with one model bundle. One instance serves any number of threads."""

    def __init__(self, bundle: Bundle, runtime: Runtime, workers: int = 1) -> None:
        self.bundle = bundle
        self._runtime = runtime
        self._workers = max(1, workers)
        self._ids = bundle.manifest.labels
        self._domains = frozenset(bundle.taxonomy.domain_ids)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, workers: int | None = None) -> Tagger:
        """Open a bundle folder, by default the model that ships with duibiao.

        ``workers`` texts are scored at a time, by default one for each CPU this process may use. Scores do not depend
        on it. Raises :class:`~duibiao.BundleError` where a file is missing or fails its checksum.
        """
        bundle = Bundle.load(Path(path) if path is not None else None)
        return cls(bundle, open_runtime(bundle), workers or _cpus())

    @property
    def taxonomy(self) -> Taxonomy:
        """The label set of the model."""
        return self.bundle.taxonomy

    def tag(self, text: str) -> Tags:
        """Tag one proposal. Long texts are read to the end."""
        return self.tag_batch([text])[0]

    def tag_batch(self, texts: Sequence[str]) -> list[Tags]:
        """Tag proposals, in order. A text gets the same scores alone, in any batch and with any number of workers."""
        if isinstance(texts, str):
            raise TypeError("tag_batch takes a list of texts; use tag for one text")
        return self._results(self.output(texts)) if texts else []

    def output(self, texts: Sequence[str]) -> Output:
        """The graph's raw arrays for at least one text, for evaluation and for callers that want numpy."""
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {i} is {type(text).__name__}, not str")
        chunks = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
        if self._workers == 1 or len(texts) == 1:
            return Output.join([self._runtime.run(chunk) for chunk in chunks])
        if len(chunks) < self._workers:
            chunks = [[text] for text in texts]
        with ThreadPoolExecutor(self._workers) as pool:
            return Output.join(list(pool.map(self._runtime.run, chunks)))

    def _results(self, output: Output) -> list[Tags]:
        rows = zip(
            output.probabilities.tolist(),
            output.tags.tolist(),
            output.needs_review.tolist(),
            output.readable.tolist(),
            strict=True,
        )
        return [self._result(*row) for row in rows]

    def _result(self, probabilities: list[float], tags: list[bool], needs_review: bool, readable: bool) -> Tags:
        by_probability = sorted(zip(probabilities, self._ids, tags, strict=True), key=lambda row: -row[0])
        labels = [label_id for _, label_id, assigned in by_probability if assigned and label_id != self._ids[0]]
        return Tags(
            aligned=tags[0],
            domains=tuple(i for i in labels if i in self._domains),
            supports=tuple(i for i in labels if i not in self._domains),
            sections=self.taxonomy.sections_of(labels),
            scores=Scores(self._ids, tuple(probabilities)),
            needs_review=needs_review,
            readable=readable,
            model_version=self.bundle.manifest.model_version,
            taxonomy_version=self.bundle.manifest.taxonomy_version,
        )


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
