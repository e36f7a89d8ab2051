"""The labelled data: the linter passes on what is committed and fails on each planted fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from duibiao.data.agreement import agreement, by_part, disagreements, pair_up
from duibiao.data.describe import describe
from duibiao.data.errors import RecordError
from duibiao.data.lint import freeze, lint, near_duplicates, read_splits
from duibiao.data.records import digest, load_texts, parse_proposal
from duibiao.data.report import write_html
from duibiao.data.split import deal, split
from duibiao.serving.cli import app
from duibiao.serving.tables import read_sheet
from duibiao.training.corpus import NON_COMMERCIAL

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
PASSES = ("first", "second")


def test_the_committed_data_is_clean(taxonomy):
    assert lint(DATA, taxonomy) == []


def test_the_authored_texts_vary_as_promised(taxonomy):
    splits, _ = read_splits(DATA, taxonomy)
    authored = [p for name, proposals in splits.items() if name.startswith("proposals") for p in proposals]
    lengths = [len(p.text) for p in authored]
    assert min(lengths) < 40
    assert max(lengths) > 4000
    assert sum(bool(p.traps) for p in authored) >= len(authored) // 5
    assert len({p.style for p in authored}) >= 6


def test_no_text_of_others_is_committed():
    for path in (DATA / "real").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            assert "text" not in record
            assert len(record["sha256"]) == 64


def test_no_model_learns_from_non_commercial_text():
    for name in ("train", "validation"):
        for record in _records(DATA / f"real/{name}.jsonl"):
            assert not record["source"].startswith(NON_COMMERCIAL), record["id"]


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


def _keep_one_language(folder: Path) -> None:
    for path in (folder / "proposals").glob("*.jsonl"):
        _save(path, [r for r in _records(path) if r["lang"] == "zh"])


def _relabel_a_second_pass(folder: Path) -> None:
    path = folder / "second-pass/second.jsonl"
    records = _records(path)
    records[0]["sha256"] = "0" * 64
    _save(path, records)


def _drop_from_a_pass(folder: Path) -> None:
    path = folder / "second-pass/second.jsonl"
    _save(path, _records(path)[1:])


def _pass_over_a_stranger(folder: Path) -> None:
    for name in ("first", "second"):
        path = folder / f"second-pass/{name}.jsonl"
        records = _records(path)
        _save(path, [*records, records[0] | {"id": "stranger"}])


def _leak_a_real_text(folder: Path) -> None:
    """The text of a test record turns out to be that of a real training record."""
    test, real = _records(folder / "proposals/test.jsonl"), folder / "real/train.jsonl"
    text = next(r["text"] for r in test if len(r["text"]) > 100)
    records = _records(real)
    records[0]["sha256"] = digest(text)
    _save(real, records)
    _save(folder / "leaked.jsonl", [{"text": text}])


def _change_real_test(folder: Path) -> None:
    path = folder / "real/test.jsonl"
    _save(path, _records(path)[1:])


def _review(**changes: object) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        record = next(r for r in _records(folder / "proposals/train.jsonl") if not r["aligned"])
        verdict = {"id": record["id"], "label": "talent", "labelled": False, "verdict": "right"}
        _save(folder / "label-errors.jsonl", [{**verdict, "reason": "", "reviewer": "x", **changes}])

    return plant


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
        (_drop_unaligned, r"0 not aligned; \d+ are wanted"),
        (_keep_one_language, r"0 projects in both languages; \d+ are wanted"),
        (_keep_one_language, r"0 records in en; \d+ are wanted"),
        (_first(lambda r: r.update(note="changed"), "test"), "changed after it was frozen"),
        (lambda folder: (folder / "proposals/frozen.json").unlink(), "not frozen"),
        (_cut_a_line, r"train\.jsonl:\d+: "),
        (_relabel_a_second_pass, "the text of .* is not the one in first.jsonl"),
        (_drop_from_a_pass, "is not in the other pass"),
        (_pass_over_a_stranger, "'stranger' is in no split"),
        (_leak_a_real_text, "near-duplicate .* in (proposals/test|real/train) and .* in (proposals/test|real/train)"),
        (_review(verdict="wrong"), "was found wrong on 'talent'; the record says otherwise"),
        (_review(id="stranger"), "label-errors.jsonl: 'stranger' is in no split"),
        (_review(label="nonsense"), r"label-errors\.jsonl:1: unknown label 'nonsense'"),
        (_change_real_test, "changed after it was frozen"),
    ],
)
def test_each_planted_fault_is_found(plant, message: str, tmp_path: Path, taxonomy):
    import re

    for part in ("proposals", "real", "second-pass"):
        shutil.copytree(DATA / part, tmp_path / part)
    train = tmp_path / "proposals/train.jsonl"
    _save(train, _records(train)[:300])  # enough to plant in, and quick to lint
    plant(tmp_path)
    leaked = tmp_path / "leaked.jsonl"
    findings = lint(tmp_path, taxonomy, load_texts(leaked) if leaked.exists() else None)
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


def test_the_description_counts_what_is_there(taxonomy, tmp_path: Path):
    found = describe(DATA, taxonomy)
    train = _records(DATA / "proposals/train.jsonl")
    assert found.records["proposals/train zh"]["records"] == sum(r["lang"] == "zh" for r in train)
    everything = [r for part in ("proposals", "real") for path in (DATA / part).glob("*.jsonl") for r in _records(path)]
    assert found.together["safety"]["safety"] == sum("safety" in r["supports"] for r in everything)
    assert found.together["talent"]["datasets"] == sum({"talent", "datasets"} <= {*r["supports"]} for r in everything)
    authored = [r for path in (DATA / "proposals").glob("*.jsonl") for r in _records(path)]
    assert sum(found.lengths["proposals zh"].values()) == sum(r["lang"] == "zh" for r in authored)
    write_html(tmp_path / "report.html", DATA, found, taxonomy)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for column, counts in found.positives.items():
        assert f'{counts["safety"]} <tspan fill="#667085">{column}</tspan>' in page
    assert page.count("<svg") >= 4


def test_small_data_need_not_be_much(taxonomy, tmp_path: Path):
    (tmp_path / "proposals").mkdir()
    for name in ("train", "validation", "test"):
        _save(tmp_path / f"proposals/{name}.jsonl", _records(DATA / f"proposals/{name}.jsonl")[:3])
    freeze(tmp_path / "proposals")
    assert lint(tmp_path, taxonomy) == []


def test_agreement_is_published_and_counts_what_differs(taxonomy):
    first, second = (DATA / f"second-pass/{name}.jsonl" for name in ("first", "second"))
    pairs = pair_up(first, second, taxonomy)
    assert len(by_part(pairs)) == 5
    found = {row.name: row for row in agreement(pairs, taxonomy, draws=50)}
    assert set(found) == {"gate", "domains", "supports", *taxonomy.domain_ids, *taxonomy.support_ids}
    differ = list(disagreements(pairs, taxonomy))
    domains = [d for d in differ if d[1] in taxonomy.domain_ids]
    row = found["domains"]
    both = (row.first + row.second - len(domains)) / 2
    assert row.positive.value == pytest.approx(2 * both / (row.first + row.second))
    assert row.positive.low <= row.positive.value <= row.positive.high
    alone = agreement([(p, p) for p, _ in pairs], taxonomy, draws=5)
    assert all(row.alpha.value == 1.0 for row in alone if row.first)


def test_alpha_is_that_of_the_library(taxonomy):
    import krippendorff

    base = {"lang": "zh", "text": "x", "supports": [], "aligned": True}
    rng = np.random.default_rng(3)
    first = rng.random((40, 2)) < 0.4
    second = first ^ (rng.random((40, 2)) < 0.2)

    def labelled(i: int, row: np.ndarray):
        names = [n for n, y in zip(("public_wellbeing", "global_cooperation"), row, strict=True) if y]
        return parse_proposal(base | {"id": str(i), "project": str(i), "domains": names}, taxonomy)

    pairs = [(labelled(i, a), labelled(i, b)) for i, (a, b) in enumerate(zip(first, second, strict=True))]
    found = {row.name: row.alpha.value for row in agreement(pairs, taxonomy, draws=5)}
    for k, name in enumerate(("public_wellbeing", "global_cooperation")):
        expected = krippendorff.alpha(np.stack([first[:, k], second[:, k]]).astype(int), level_of_measurement="nominal")
        assert found[name] == pytest.approx(expected)


def test_a_split_keeps_projects_whole_and_labels_in_proportion(taxonomy):
    splits, _ = read_splits(DATA, taxonomy)
    authored = [p for name, proposals in splits.items() if name.startswith("proposals") for p in proposals]
    homes = split(authored, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=5)
    assert set(homes) == {p.project for p in authored}
    for language in ("zh", "en"):
        for label in (*taxonomy.domain_ids, *taxonomy.support_ids):
            having = [homes[p.project] for p in authored if p.lang == language and label in p.labels]
            assert 0.15 <= having.count("test") / len(having) <= 0.25, (language, label)
    kept = dict.fromkeys(sorted(homes)[:50], "test")
    assert all(split(authored, {"train": 0.8, "validation": 0.1, "test": 0.1}, kept)[p] == "test" for p in kept)


def test_dealing_adds_to_what_is_there(tmp_path: Path):
    records = _records(DATA / "proposals/train.jsonl")
    _save(tmp_path / "first.jsonl", records[:60])
    _save(tmp_path / "more.jsonl", records[60:120])
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    deal(tmp_path / "first.jsonl", tmp_path / "data", shares)
    before = {name: {r["id"] for r in _records(tmp_path / f"data/{name}.jsonl")} for name in shares}
    counts = deal(tmp_path / "more.jsonl", tmp_path / "data", shares)
    after = {name: {r["id"] for r in _records(tmp_path / f"data/{name}.jsonl")} for name in shares}
    assert sum(counts.values()) == 120
    assert all(before[name] <= after[name] for name in shares)
    assert min(counts.values()) >= 12


def test_dealing_refuses_what_would_lose_or_leak(tmp_path: Path):
    records = _records(DATA / "proposals/train.jsonl")[:40]
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    _save(tmp_path / "a.jsonl", records)
    deal(tmp_path / "a.jsonl", tmp_path / "data", shares)
    before = {name: (tmp_path / f"data/{name}.jsonl").read_bytes() for name in shares}
    _save(tmp_path / "b.jsonl", [records[0] | {"text": "another text"}])
    with pytest.raises(RecordError, match="with another text"):
        deal(tmp_path / "b.jsonl", tmp_path / "data", shares)
    freeze(tmp_path / "data")
    held = _records(tmp_path / "data/test.jsonl")[0]
    _save(tmp_path / "b.jsonl", [held | {"id": "variant", "text": "a variant of a test project"}])
    with pytest.raises(RecordError, match="'variant' would change the frozen test split"):
        deal(tmp_path / "b.jsonl", tmp_path / "data", shares)
    assert {name: (tmp_path / f"data/{name}.jsonl").read_bytes() for name in shares} == before
    more = [r | {"id": f"n{i}", "project": f"n{i}"} for i, r in enumerate(records)]
    _save(tmp_path / "c.jsonl", more)
    counts = deal(tmp_path / "c.jsonl", tmp_path / "data", shares)
    assert (tmp_path / "data/test.jsonl").read_bytes() == before["test"]
    assert sum(counts.values()) == 80


def test_alpha_of_a_label_that_nobody_used_is_undefined(taxonomy):
    base = {
        "id": "a",
        "project": "a",
        "lang": "en",
        "text": "x",
        "aligned": True,
        "supports": ["talent"],
        "domains": [],
    }
    one = parse_proposal(base, taxonomy)
    found = {row.name: row for row in agreement([(one, one)] * 3, taxonomy, draws=5)}
    assert np.isnan(found["safety"].alpha.value)
    assert str(found["safety"].alpha) == "–"


def test_agreement_prints_strict_json():
    result = CliRunner().invoke(
        app, ["data", "agreement", *(str(DATA / f"second-pass/{n}.jsonl") for n in PASSES), "--json"]
    )

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert "all" in json.loads(result.output, parse_constant=refuse)


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
