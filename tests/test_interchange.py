"""Annotation formats: what goes out comes back, and what an annotator did wrong is named."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook
from typer.testing import CliRunner

from duibiao.data.errors import RecordError
from duibiao.data.interchange import (
    FORMATS,
    UNALIGNED,
    label_studio_config,
    passes,
    read_tasks,
    tasks_of,
    write_tasks,
)
from duibiao.data.records import parse_proposal, read_proposals
from duibiao.serving.cli import app

ROOT = Path(__file__).resolve().parent.parent


def _record(taxonomy, **changes):
    base = {
        "id": "a-1",
        "project": "a",
        "lang": "zh",
        "text": "第一行：用视觉模型检查焊缝。\n\n第二行\u2028\t=1+1  ",
        "aligned": True,
        "domains": ["industrial_development"],
        "supports": ["datasets", "talent"],
        "style": "grant",
        "source": "某库:a.md",
        "traps": ["consumption_upgrade"],
        "note": "两可：见 9 号硬例, “数据集”",
        "annotator": "li",
    }
    return parse_proposal(base | changes, taxonomy)


@pytest.fixture
def tasks(taxonomy):
    """Two passes over one text, one over another, and a text that nobody has labelled."""
    first, other = _record(taxonomy), _record(taxonomy, annotator="B", domains=[], traps=[], note="")
    plain = dict(id="a-2", project="a-2", text="🦾" * 40_000, style="", source="", traps=[], note="", lang="en")
    unaligned = _record(taxonomy, aligned=False, domains=[], supports=[], **plain)
    found = tasks_of([first, other, unaligned])
    return [*found, replace(found[1], id="a-3", project="a-3", text="A title of 2026", labelled=())]


@pytest.mark.parametrize("form", FORMATS)
def test_what_goes_out_comes_back(form, tasks, taxonomy, tmp_path: Path):
    path = tmp_path / {"label-studio": "t.json", "doccano": "t.jsonl", "workbook": "t.xlsx"}[form]
    write_tasks(path, tasks, form, taxonomy)
    assert read_tasks(path, form, taxonomy) == tasks


@pytest.mark.parametrize("form", FORMATS)
def test_the_committed_records_come_back(form, taxonomy, tmp_path: Path):
    tasks = tasks_of(
        replace(p, annotator="A") for p in read_proposals(ROOT / "data/proposals/validation.jsonl", taxonomy)
    )
    path = tmp_path / "tasks"
    path = path.with_suffix(".xlsx" if form == "workbook" else ".json")
    write_tasks(path, tasks, form, taxonomy)
    assert read_tasks(path, form, taxonomy) == tasks


def test_labels_that_changed_in_doccano_are_the_annotators_own(tasks, taxonomy, tmp_path: Path):
    path = tmp_path / "sent.jsonl"
    write_tasks(path, tasks[:1], "doccano", taxonomy)
    (line, _) = path.read_text(encoding="utf-8").strip().split("\n")
    sent = json.loads(line) | {"label": ["aligned", "consumption_upgrade"]}  # was a trap
    back = tmp_path / "wang.jsonl"
    back.write_text(json.dumps(sent, ensure_ascii=False), encoding="utf-8")
    (task,) = read_tasks(back, "doccano", taxonomy)
    (proposal,) = task.labelled
    assert (proposal.annotator, proposal.note, proposal.traps) == ("wang", "", ())


def test_nothing_is_written_over(tasks, taxonomy, tmp_path: Path):
    for form, name in (("workbook", "t.xlsx"), ("doccano", "t.jsonl"), ("label-studio", "t.json")):
        write_tasks(tmp_path / name, tasks, form, taxonomy)
        with pytest.raises(RecordError, match="exists"):
            write_tasks(tmp_path / name, tasks, form, taxonomy)
    (tmp_path / "u.xml").write_text("theirs", encoding="utf-8")
    with pytest.raises(RecordError, match=r"u\.xml exists"):
        write_tasks(tmp_path / "u.json", tasks, "label-studio", taxonomy)
    with pytest.raises(RecordError, match="is no folder"):
        write_tasks(tmp_path / "none/t.xlsx", tasks, "workbook", taxonomy)


def test_a_workbook_says_what_it_has_no_room_for(tasks, taxonomy, tmp_path: Path):
    crowded = replace(tasks[0], labelled=(*tasks[0].labelled, replace(tasks[0].labelled[0], annotator="C")))
    with pytest.raises(RecordError, match="a-1: a workbook has room for 2 annotators, not 3"):
        write_tasks(tmp_path / "t.xlsx", [crowded], "workbook", taxonomy)
    noted = replace(tasks[0], labelled=(replace(tasks[0].labelled[0], note="n" * 40_000),))
    with pytest.raises(RecordError, match="a-1: field 'note' is too long"):
        write_tasks(tmp_path / "u.xlsx", [noted], "workbook", taxonomy)


def test_passes_are_parted(tasks):
    found = passes(tasks)
    assert {who: [p.id for p in own] for who, own in found.items()} == {"li": ["a-1", "a-2"], "B": ["a-1"]}
    # B is first on one text: still B's pass, not the first one's
    turned = replace(tasks[1], id="a-9", labelled=(replace(tasks[1].labelled[0], id="a-9", annotator="B"),))
    assert [p.id for p in passes([turned, *tasks])["B"]] == ["a-9", "a-1"]
    with pytest.raises(RecordError, match="a-1: li labelled the text twice"):
        passes([replace(tasks[0], labelled=tasks[0].labelled[:1] * 2)])


def test_the_label_studio_interface_has_every_label(taxonomy):
    root = ET.fromstring(label_studio_config(taxonomy))
    aliases = {choices.get("name"): [c.get("alias") for c in choices] for choices in root.iter("Choices")}
    assert aliases["gate"] == [taxonomy.gate.id, UNALIGNED]
    assert tuple(aliases["domains"]) == taxonomy.domain_ids
    assert tuple(aliases["supports"]) == taxonomy.support_ids


def test_an_export_of_label_studio_itself_is_read(taxonomy):
    """As Label Studio 1.x writes it: ids, timings, cancelled and empty annotations, numbered users."""
    from duibiao.data.interchange import from_label_studio

    def choice(name: str, *values: str) -> dict:
        return {"id": "k", "from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(values)}}

    done = {
        "id": 7,
        "completed_by": 3,
        "was_cancelled": False,
        "lead_time": 9.1,
        "result": [choice("gate", "aligned"), choice("supports", "safety")],
    }
    skipped = {"id": 8, "completed_by": 4, "was_cancelled": True, "result": [choice("gate", UNALIGNED)]}
    body = [
        {
            "id": 1,
            "data": {"id": "x", "lang": "en", "text": "Red teaming"},
            "annotations": [done, skipped, {"result": []}],
        }
    ]
    (task,) = from_label_studio(json.dumps(body), taxonomy)
    assert [(p.annotator, p.supports) for p in task.labelled] == [("3", ("safety",))]


def test_an_export_of_doccano_itself_is_read(taxonomy):
    from duibiao.data.interchange import from_doccano

    line = {
        "id": 12,
        "text": "标准",
        "label": ["aligned", "standards_ip"],
        "lang": "zh",
        "record_id": "r-1",
        "Comments": [],
    }
    (task,) = from_doccano(json.dumps(line), taxonomy, annotator="li")
    assert task.id == "r-1"
    assert (task.labelled[0].annotator, task.labelled[0].supports) == ("li", ("standards_ip",))


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("label-studio", "{", "not JSON: line 1"),
        ("label-studio", "{}", "a JSON list of tasks"),
        ("label-studio", "[{}]", "task 1: field 'data' is missing"),
        ("label-studio", '[{"data": {"id": "a", "text": "t", "lang": "fr"}}]', "task 1: field 'lang'"),
        (
            "label-studio",
            '[{"data": {"id": "a", "text": "t", "lang": "en"}, "annotations": [{"result": [{"from_name": "domains", '
            '"value": {"choices": ["public_wellbeing"]}}]}]}]',
            "a: an annotation must have one choice in 'gate'",
        ),
        (
            "doccano",
            '{"record_id": "a", "text": "t", "lang": "en", "label": ["nonsense"]}',
            "a: unknown label 'nonsense'",
        ),
        ("doccano", '{"record_id": "a", "text": "t", "lang": "en", "label": ["unaligned", "talent"]}', "together with"),
        ("doccano", '{"text": "t", "lang": "en", "label": []}', "line 1: field 'id'"),
        ("doccano", "[]", "line 1: must be a JSON object"),
    ],
)
def test_faults_are_named(form, content: str, message: str, taxonomy, tmp_path: Path):
    path = tmp_path / "back.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message) as caught:
        read_tasks(path, form, taxonomy)
    assert "back.json" in str(caught.value)


def _refill(path: Path, sheet: str, row: int, column: str, value: str) -> None:
    """Write the workbook again with one cell changed, as a coder would."""
    sheets = {
        name: CalamineWorkbook.from_path(str(path)).get_sheet_by_name(name).to_python(skip_empty_area=False)
        for name in ("A", "B")
    }
    sheets[sheet][row][sheets[sheet][0].index(column)] = value
    with xlsxwriter.Workbook(path, {"strings_to_formulas": False}) as book:
        for name, rows in sheets.items():
            out = book.add_worksheet(name)
            for r, cells in enumerate(rows):
                out.write_row(r, 0, cells)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("traps", "safety，talnet", r"a-1: field 'traps' has the unknown label 'talnet'"),
        ("id", "a-2", r"sheet B, row 3: id 'a-2' occurs twice|sheet B, row 2: the text was edited"),
        ("talent", "maybe", r"sheet B, row 2, column 'talent': 'maybe' is no mark"),
        ("text", "another text", r"sheet B, row 2: the text was edited"),
        ("aligned", "", r"sheet B, row 2, column 'aligned': is empty though 'datasets' is marked"),
        ("aligned", "0", r"chose 'unaligned' together with labels"),
    ],
)
def test_a_coders_slip_is_named(column: str, value: str, message: str, tasks, taxonomy, tmp_path: Path):
    path = tmp_path / "coders.xlsx"
    write_tasks(path, tasks, "workbook", taxonomy)
    _refill(path, "B", 1, column, value)
    with pytest.raises(RecordError, match=message):
        read_tasks(path, "workbook", taxonomy)


def test_a_coder_fills_in_what_was_empty(tasks, taxonomy, tmp_path: Path):
    path = tmp_path / "coders.xlsx"
    write_tasks(path, tasks, "workbook", taxonomy)
    _refill(path, "A", 3, "aligned", "0")
    (_, _, task) = read_tasks(path, "workbook", taxonomy)
    assert [(p.annotator, p.aligned) for p in task.labelled] == [("A", False)]
    assert task.id == "a-3"


def test_text_that_would_not_survive_is_refused(taxonomy, tmp_path: Path):
    with pytest.raises(RecordError, match="a-1: the text has control characters"):
        write_tasks(tmp_path / "t.json", tasks_of([_record(taxonomy, text="a\x01b")]), "doccano", taxonomy)


def test_a_table_of_applications_goes_out_and_labels_come_home(tmp_path: Path):
    """The way of a funding office: its spreadsheet, a workbook for two coders, two passes, their agreement."""
    run = CliRunner()
    table, book, home = tmp_path / "past.csv", tmp_path / "coders.xlsx", tmp_path / "labelled"
    table.write_text(
        "编号,项目简介\n1,用语音识别整理庭审记录并归档备查\n2,\n3,Road repair in the old town centre\n",
        encoding="gb18030",
    )
    sent = run.invoke(app, ["data", "export", str(table), "-o", str(book), "--format", "workbook", "--lang", "zh"])
    assert sent.exit_code == 0, sent.output
    for sheet in ("A", "B"):
        _refill(book, sheet, 1, "aligned", "x")
        _refill(book, sheet, 1, "governance_capability", "x")
        _refill(book, sheet, 2, "aligned", "0")
    back = run.invoke(app, ["data", "import", str(book), "-o", str(home), "--format", "workbook"])
    assert back.exit_code == 0, back.output
    records = [json.loads(line) for line in (home / "second.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(r["lang"], r["aligned"], r["domains"]) for r in records] == [
        ("zh", True, ["governance_capability"]),
        ("en", False, []),
    ]
    agreed = run.invoke(app, ["data", "agreement", str(home / "first.jsonl"), str(home / "second.jsonl"), "--json"])
    assert agreed.exit_code == 0, agreed.output
    again = run.invoke(app, ["data", "import", str(book), "-o", str(home), "--format", "workbook"])
    assert isinstance(again.exception, RecordError)
    assert "exists" in str(again.exception)
