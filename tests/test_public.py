from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import duibiao

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    "duibiao." + ".".join(p.relative_to(ROOT).with_suffix("").parts).removeprefix("model.")
    for folder in ("data", "model", "training", "serving")
    for p in (ROOT / folder).glob("*.py")
    if p.stem != "__init__"
)


def test_public_names_are_exactly_these():
    assert sorted(duibiao.__all__) == duibiao.__all__
    for name in duibiao.__all__:
        assert getattr(duibiao, name) is not None
    with pytest.raises(AttributeError):
        duibiao.nonsense  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_each_module_imports_alone(module: str):
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd="/")


def test_importing_duibiao_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'onnxruntime', 'numpy', 'typer', 'sklearn'}"
    code = f"import sys, duibiao; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def imported(path: Path, package: str) -> set[str]:
    """Layers that a module imports, lazily or relatively too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{package}." if node.level else node.module or ""]
        for name in names:
            if name.split(".")[0] == "duibiao":
                layer = [*name.split("."), ""][1]
                found.add(layer if layer in ("data", "training", "serving") else "model")
    return found


def test_layers_import_one_way():
    """data ← model ← training, and data, model ← serving; commands alone reach training."""
    allowed = {
        "data": {"data"},
        "model": {"data", "model"},
        "training": {"data", "model", "training"},
        "serving": {"data", "model", "serving"},
    }
    for folder, layers in allowed.items():
        package = "duibiao" if folder == "model" else f"duibiao.{folder}"
        for path in (ROOT / folder).glob("*.py"):
            extra = {"training"} if path.name in ("cli.py", "data_commands.py") else set()
            assert imported(path, package) <= layers | extra, path


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == duibiao.__version__
    assert f"## {duibiao.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
