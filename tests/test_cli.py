from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def duibiao(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duibiao.serving.cli", *map(str, args)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "200", **env},
        check=False,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "a.csv"
    path.write_bytes("编号,项目简介\n1,用视觉模型检测钢板表面缺陷\n2,县道沥青路面改建\n".encode("gb18030"))
    return path


@pytest.mark.parametrize(
    "code",
    [
        "from duibiao import Tagger; Tagger.load().tag('钢板')",
        "import runpy, sys; sys.argv = {argv}; runpy.run_module('duibiao.serving.cli', run_name='__main__')",
    ],
)
def test_tagging_imports_neither_torch_nor_transformers(code: str, source: Path):
    argv = ["duibiao", "tag", str(source), "-o", str(source.with_suffix(".xlsx"))]
    code = code.replace("{argv}", repr(argv))
    check = f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
    check += "print(sorted({'torch', 'transformers', 'sklearn', 'datasets', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("lang", "column", "value"),
    [("zh", "行动领域", "AI+产业发展"), ("en", "Action domains", "AI+ industrial development")],
)
def test_tag(source: Path, lang: str, column: str, value: str):
    target = source.with_name(f"{lang}.csv")
    done = duibiao("tag", source, "-o", target, "--lang", lang)
    assert done.returncode == 0, done.stderr
    assert "gb18030" in done.stderr
    text = target.read_text(encoding="utf-8-sig")
    assert column in text.splitlines()[0]
    assert value in text.splitlines()[1]


def test_language_follows_the_locale(source: Path):
    for locale, word in (("zh_CN.UTF-8", "行需复核"), ("en_US.UTF-8", "to review")):
        assert word in duibiao("tag", source, "-o", source.with_name("l.csv"), LC_ALL=locale).stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("tag", "missing.csv", "-o", "x.csv"), "no such file"),
        (("tag", "{source}", "-o", "{folder}/x.pdf"), "cannot write .pdf"),
        (("tag", "{source}", "-o", "{folder}/none/x.csv"), "cannot write there"),
        (("tag", "{source}", "-o", "{folder}/x.csv", "--text", "nope"), "no column 'nope'"),
        (("tag", "{source}", "-o", "{folder}/x.csv", "--encoding", "utf-99"), "is no encoding of text"),
        (("tag", "{source}", "-o", "{folder}/x.csv", "--model", "{folder}"), "no model bundle"),
        (("evaluate", "{folder}/missing.jsonl"), "No such file"),
        (("data", "lint", "{folder}"), "no folder 'proposals'"),
        (("train", "--config", "{folder}/no.toml"), "No such file"),
        (("export", "{folder}", "-o", "{folder}/b"), "is no finished run"),
        (("export", "{folder}", "-o", "{folder}/b", "--precision", "int4"), "unknown precision"),
    ],
)
def test_every_known_fault_is_one_line_and_exit_code_2(source: Path, args: tuple[str, ...], message: str):
    filled = [a.format(source=source, folder=source.parent) for a in args]
    done = duibiao(*filled)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("duibiao: ")


def test_evaluate_writes_json_and_html(labelled: Path, tmp_path: Path):
    done = duibiao("evaluate", labelled, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html", "--lang", "zh")
    assert done.returncode == 0, done.stderr
    assert "gate accuracy" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["evaluations"][0]["measures"]["zh"]["proposals"] == 1
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_labels_prints_the_label_set():
    done = duibiao("labels", "--lang", "zh")
    assert "二(二)3 加快农业数智化转型升级" in done.stdout
    assert "service_providers" in done.stdout


def test_every_command_has_help():
    for command in ("tag", "labels", "evaluate", "train", "export", "pretrain", "data lint", "data stats"):
        done = duibiao(*command.split(), "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout
