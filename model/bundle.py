"""A model bundle: a folder with the ONNX file, the label set, a model card, and a manifest of checksums.

::

    manifest.json     format, versions, kind, thresholds, SHA-256 of every file below and of itself
    model.onnx        texts in, tags out (or token ids in, for a backbone with a tokenizer of its own)
    taxonomy.json     the label set that the model was trained on
    MODEL_CARD.md     what it is, what it was trained on, how good it is
    tokenizer.json    only where kind is "ids"

Nothing is used before its checksum agreed: a flipped bit in an ONNX file loads without complaint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from duibiao.data.errors import BundleError
from duibiao.data.taxonomy import Taxonomy, parse_taxonomy

FORMAT = 1
MANIFEST, MODEL, TAXONOMY, CARD, TOKENIZER = (
    "manifest.json",
    "model.onnx",
    "taxonomy.json",
    "MODEL_CARD.md",
    "tokenizer.json",
)


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself."""

    model_version: str
    taxonomy_version: str
    kind: Literal["text", "ids"]
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    review_margin: float
    training: Mapping[str, Any]
    files: Mapping[str, str]
    format: int = FORMAT


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _seal(body: Mapping[str, Any]) -> str:
    """Digest of a manifest's content, so that the manifest too cannot change unnoticed."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose every file agreed with its checksum."""

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The label set that the model was trained on."""
        path = self.folder / TAXONOMY
        return parse_taxonomy(path.read_text(encoding="utf-8"), str(path))

    @classmethod
    def load(cls, folder: Path | None = None) -> Bundle:
        """Open and verify a bundle (by default the one that ships); raises :class:`BundleError`."""
        folder = Path(str(files("duibiao"))) / "bundle" if folder is None else Path(folder)
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            seal = body.pop("sha256")
        except FileNotFoundError:
            raise BundleError(f"{folder} is no model bundle: it has no {MANIFEST}") from None
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from error
        if body.get("format") != FORMAT:
            raise BundleError(f"{path}: bundle format {body.get('format')!r}; this duibiao reads format {FORMAT}")
        if seal != _seal(body):
            raise BundleError(f"{path} was changed after it was written (checksum differs)")
        known = {f.name for f in fields(Manifest)}
        if set(body) != known:
            raise BundleError(f"{path}: fields {sorted(set(body) ^ known)} are missing or unknown")
        manifest = Manifest(**(body | {"labels": tuple(body["labels"]), "thresholds": tuple(body["thresholds"])}))
        for name, expected in manifest.files.items():
            if not (folder / name).is_file():
                raise BundleError(f"{folder}: {name} is missing")
            if _sha256(folder / name) != expected:
                raise BundleError(f"{folder / name} is damaged: its SHA-256 is not the one in {MANIFEST}")
        bundle = cls(folder, manifest)
        if bundle.taxonomy.label_ids != manifest.labels or bundle.taxonomy.version != manifest.taxonomy_version:
            raise BundleError(f"{folder}: {TAXONOMY} and {MANIFEST} speak of different label sets")
        return bundle

    @classmethod
    def seal(cls, folder: Path, **description: Any) -> Bundle:
        """Write the manifest over the files that lie in ``folder``; return the verified bundle."""
        names = [n for n in (MODEL, TAXONOMY, CARD, TOKENIZER) if (folder / n).exists()]
        manifest = Manifest(**description, files={name: _sha256(folder / name) for name in names})
        body = json.loads(json.dumps(asdict(manifest)))
        text = json.dumps(body | {"sha256": _seal(body)}, ensure_ascii=False, indent=2)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return cls.load(folder)
