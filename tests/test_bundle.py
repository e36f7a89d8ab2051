from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from duibiao import BundleError, Tagger
from duibiao.bundle import Bundle


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))


def test_the_shipped_bundle_is_sound_and_small():
    bundle = Bundle.load()
    size = sum(p.stat().st_size for p in bundle.folder.iterdir())
    assert size <= 30_000_000
    assert set(bundle.manifest.files) == {"model.onnx", "taxonomy.json", "MODEL_CARD.md"}


def test_a_flipped_bit_is_found(copy: Path):
    path = copy / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.onnx is damaged"):
        Tagger.load(copy)


@pytest.mark.parametrize("name", ["model.onnx", "taxonomy.json", "MODEL_CARD.md"])
def test_a_truncated_file_is_found(copy: Path, name: str):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Tagger.load(copy)


def test_a_missing_file_is_named(copy: Path):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        Tagger.load(copy)


def test_no_bundle_at_all(tmp_path: Path):
    with pytest.raises(BundleError, match="no model bundle"):
        Tagger.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["thresholds"].__setitem__(0, 0.1), "changed"),
        (lambda body: body.update(model_version="9"), "changed"),
        (lambda body: body.update(format=2), "format 2"),
        (lambda body: body.pop("sha256"), "cannot be read"),
    ],
)
def test_a_changed_manifest_is_found(copy: Path, change, message: str):
    path = copy / "manifest.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    change(body)
    path.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        Tagger.load(copy)


def test_a_truncated_manifest_is_found(copy: Path):
    path = copy / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError, match="cannot be read"):
        Tagger.load(copy)
