"""The wheel holds every module and the bundle, and installs one package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_wheel_has_every_file_under_one_package(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for name in ("model", "data", "training", "serving"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "encoder"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path / "out"),
        str(tree),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = {
        "duibiao/py.typed",
        "duibiao/data/taxonomy.json",
        "duibiao/data/report.html.j2",
        "duibiao/training/default.toml",
        "duibiao/training/report.html.j2",
    }
    expected |= {f"duibiao/bundle/{p.name}" for p in (ROOT / "model/bundle").iterdir()}
    for folder, package in (
        ("model", "duibiao"),
        ("data", "duibiao/data"),
        ("training", "duibiao/training"),
        ("serving", "duibiao/serving"),
    ):
        expected |= {f"{package}/{p.name}" for p in (ROOT / folder).glob("*.py")}
    assert names == expected
