"""The labelled data: the linter passes on what is committed and fails on each planted fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from duibiao.data.lint import agreement, freeze, lint, near_duplicates, read_splits, statistics
from duibiao.data.records import parse_proposal
from duibiao.serving.tables import read_sheet

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"


def test_the_committed_data_is_clean(taxonomy):
    assert lint(DATA, taxonomy) == []


def test_the_promised_amount_is_there(taxonomy):
    splits, _ = read_splits(DATA, taxonomy)
    authored = [p for name, proposals in splits.items() if name.startswith("proposals") for p in proposals]
    assert len(authored) >= 600
    assert 0.4 <= sum(p.lang == "zh" for p in authored) / len(authored) <= 0.6
    lengths = [len(p.text) for p in authored]
    assert min(lengths) < 40
    assert max(lengths) > 4000
    assert sum(bool(p.traps) for p in authored) >= 100
    assert len({p.style for p in authored}) >= 6


def test_no_text_of_others_is_committed():
    for path in (DATA / "real").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            assert "text" not in record
            assert len(record["sha256"]) == 64


def test_it_loads_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    loaded = datasets.load_dataset(str(DATA), "proposals", cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "validation", "test"}
    assert {"id", "project", "lang", "text", "aligned", "domains", "supports"} <= set(loaded["train"].column_names)
    assert loaded["test"].num_rows == len((DATA / "proposals/test.jsonl").read_text(encoding="utf-8").splitlines())


def _records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _save(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def _first(change: Callable[[dict], object], split: str = "train") -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = folder / "proposals" / f"{split}.jsonl"
        records = _records(path)
        change(records[0])
        _save(path, records)

    return plant


def _copy_across(folder: Path) -> None:
    train, validation = _records(folder / "proposals/train.jsonl"), _records(folder / "proposals/validation.jsonl")
    long = next(r for r in train if len(r["text"]) > 400)
    _save(
        folder / "proposals/validation.jsonl",
        [*validation, long | {"id": "copy", "project": "copy", "text": "Note. " + long["text"]}],
    )


def _cross_project(folder: Path) -> None:
    train, validation = _records(folder / "proposals/train.jsonl"), _records(folder / "proposals/validation.jsonl")
    validation[0]["project"] = train[0]["project"]
    _save(folder / "proposals/validation.jsonl", validation)


def _repeat_id(folder: Path) -> None:
    train, validation = _records(folder / "proposals/train.jsonl"), _records(folder / "proposals/validation.jsonl")
    validation[0]["id"] = train[0]["id"]
    _save(folder / "proposals/validation.jsonl", validation)


def _twins_differ(folder: Path) -> None:
    path = folder / "proposals/train.jsonl"
    records = _records(path)
    twin = next(r for r in records if r["id"].endswith("-b") and r["aligned"])
    twin["domains"] = ["global_cooperation"] if twin["domains"] != ["global_cooperation"] else []
    twin["traps"] = []
    _save(path, records)


def _drop_label(folder: Path) -> None:
    for path in (folder / "proposals").glob("*.jsonl"):
        _save(path, [r for r in _records(path) if r["lang"] != "en" or "compute_services" not in r["supports"]])


def _drop_unaligned(folder: Path) -> None:
    for path in (folder / "proposals").glob("*.jsonl"):
        _save(path, [r for r in _records(path) if r["aligned"]])


def _cut_a_line(folder: Path) -> None:
    path = folder / "proposals/train.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (_first(lambda r: r.pop("lang")), r"train\.jsonl:1: field 'lang' is missing"),
        (_first(lambda r: r.update(domains=["nonsense"])), r"train\.jsonl:1: .*'nonsense'"),
        (_first(lambda r: r.update(text=" ")), r"train\.jsonl:1: field 'text'"),
        (_copy_across, "near-duplicate .* and copy in proposals/validation"),
        (_cross_project, "is in more than one split"),
        (_repeat_id, "is also in"),
        (_twins_differ, "versions have different labels"),
        (_drop_label, "'compute_services' has 0 positives in 'en'"),
        (_drop_unaligned, "0.0% of the proposals are not aligned"),
        (_first(lambda r: r.update(note="changed"), "test"), "changed after it was frozen"),
        (lambda folder: (folder / "proposals/frozen.json").unlink(), "not frozen"),
        (_cut_a_line, r"train\.jsonl:\d+: "),
    ],
)
def test_each_planted_fault_is_found(plant, message: str, tmp_path: Path, taxonomy):
    import re

    shutil.copytree(DATA / "proposals", tmp_path / "proposals")
    plant(tmp_path)
    findings = lint(tmp_path, taxonomy)
    assert any(re.search(message, finding) for finding in findings), findings


def test_near_duplicates_are_measured_on_character_4_grams(taxonomy):
    base = {"project": "p", "lang": "zh", "aligned": False, "domains": [], "supports": []}
    text = "县道改建工程的路基拓宽与沥青面层摊铺，含排水沟修复"
    texts = [text, text.replace("修复", "整修"), "食堂装修与桌椅采购", "短"]
    proposals = [parse_proposal({**base, "id": str(i), "text": t}, taxonomy) for i, t in enumerate(texts)]
    assert [(a.id, b.id) for a, b, _ in near_duplicates(proposals)] == [("0", "1")]
    assert len(list(near_duplicates([proposals[0], proposals[0]]))) == 1


def test_freeze_writes_what_lint_reads(tmp_path: Path, taxonomy):
    shutil.copytree(DATA / "proposals", tmp_path / "proposals")
    _first(lambda r: r.update(note="changed"), "test")(tmp_path)
    freeze(tmp_path / "proposals")
    assert lint(tmp_path, taxonomy) == []


def test_statistics_count_what_is_there(taxonomy):
    found = statistics(DATA, taxonomy)
    train = _records(DATA / "proposals/train.jsonl")
    assert found["records"]["proposals/train zh"]["records"] == sum(r["lang"] == "zh" for r in train)
    assert min(found["positives"]["proposals en"].values()) >= 25


def test_agreement_is_between_0_and_1_and_1_with_oneself(taxonomy, tmp_path: Path):
    found = agreement(DATA, taxonomy)
    assert found["authored"]["records"] >= 150
    assert all(0 <= v <= 1 for part in found.values() for k, v in part.items() if k != "records")
    shutil.copytree(DATA / "proposals", tmp_path / "proposals")
    shutil.copy(DATA / "proposals/test.jsonl", tmp_path / "second-pass.jsonl")
    assert agreement(tmp_path, taxonomy)["authored"]["domains"] == 1.0


def test_the_example_is_no_training_text(taxonomy):
    sheet = read_sheet(DATA / "examples/applications.xlsx")
    texts = [sheet.text(row) for row in sheet.rows]
    assert len(texts) >= 40
    chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in t[:40]) for t in texts)
    assert 10 <= chinese <= len(texts) - 10
    splits, _ = read_splits(DATA, taxonomy)
    base = {"project": "x", "lang": "zh", "aligned": False, "domains": [], "supports": []}
    examples = [parse_proposal({**base, "id": f"example {i}", "text": t}, taxonomy) for i, t in enumerate(texts)]
    authored = [p for name, proposals in splits.items() if name.startswith("proposals") for p in proposals]
    pairs = near_duplicates([*examples, *authored], 0.6)
    assert [(a.id, b.id) for a, b, _ in pairs if a.id.startswith("example")] == []
