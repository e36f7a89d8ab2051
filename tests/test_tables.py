from __future__ import annotations

import codecs
import csv
import datetime
import json
import random
import zipfile
from pathlib import Path

import pytest
import xlsxwriter

from duibiao import Tagger
from duibiao.data.errors import TableError
from duibiao.serving.batch import tag_table
from duibiao.serving.encodings import detect
from duibiao.serving.tables import Row, Sheet, read_sheet
from duibiao.serving.writers import neutralise, write_whole

ROWS = [["编号", "项目名称", "项目简介"], ["1", "质检", "用视觉模型检测钢板缺陷"], ["2", "修路", "县道改建与沥青摊铺"]]
BODY = "\r\n".join(",".join(row) for row in ROWS)


@pytest.fixture(scope="module")
def tiny_tagger(tiny_run: Path) -> Tagger:
    return Tagger.load(tiny_run / "bundle")


def cells(sheet: Sheet) -> list[list[object]]:
    return [row.cells for row in sheet.rows]


def excel(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = xlsxwriter.Workbook(str(path), {"strings_to_formulas": False})
    style = book.add_format({"num_format": "yyyy-mm-dd"})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for r, row in enumerate(rows):
            for c, cell in enumerate(row):
                if isinstance(cell, datetime.date):
                    sheet.write_datetime(r, c, datetime.datetime.combine(cell, datetime.time()), style)
                elif cell != "":
                    sheet.write(r, c, cell)
    book.close()
    return path


# --- encodings ---


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (BODY.encode("utf-8"), "utf-8"),
        (BODY.encode("utf-8-sig"), "utf-8-sig"),
        (BODY.encode("gb18030"), "gb18030"),
        ((BODY + "€㎡").encode("gb18030"), "gb18030"),
        (codecs.BOM_UTF16_LE + BODY.encode("utf-16-le"), "utf-16"),
        (BODY.encode("utf-16-le"), "utf-16-le"),
        (BODY.encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_encodings_are_told_apart_and_read_right(tmp_path: Path, data: bytes, name: str):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    assert detect(path).name == name
    sheet = read_sheet(path)
    assert f"encoding: {name}" in sheet.remarks
    assert cells(sheet)[0] == ROWS[1]


def test_a_stray_nul_does_not_make_a_file_utf16(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(BODY.replace("视觉", "视\0觉").encode())
    assert detect(path).name == "utf-8"
    assert cells(read_sheet(path))[0] == ROWS[1]


@pytest.mark.parametrize(
    "data",
    [
        "text\n本計畫擬以影像辨識技術協助偏鄉診所判讀胸部光片並由醫師複核兩年內於二十家診所試用".encode("big5"),
        "text\nThe dean’s naïvely drafted plan – élan, façades, rôles – isn’t “done”\n".encode("cp1252"),
    ],
)
def test_what_gb18030_would_read_as_nonsense_is_asked_for(tmp_path: Path, data: bytes):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(TableError, match="--encoding"):
        read_sheet(path)


def test_traditional_chinese_in_gb18030_is_read(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes("計畫摘要\n本計畫擬以影像辨識技術協助偏鄉診所判讀胸部光片，並由醫師複核\n".encode("gb18030"))
    assert detect(path).name == "gb18030"


def test_one_bad_byte_in_utf8_is_not_read_as_gb18030(tmp_path: Path):
    data = (BODY * 20).encode()
    path = tmp_path / "a.csv"
    path.write_bytes(data[:400] + b"\xff" + data[400:])
    with pytest.raises(TableError, match=r"is UTF-8 but for byte \d+ \(line \d+\)"):
        read_sheet(path)
    assert len(cells(read_sheet(path, encoding="utf-8"))) > 10


def test_neither_encoding_is_an_error(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(random.Random(0).randrange(128, 256) for _ in range(3000)))
    with pytest.raises(TableError, match="--encoding"):
        read_sheet(path)


@pytest.mark.parametrize("name", ["klingon", "hex", "undefined", "rot13", "base64"])
def test_an_encoding_that_is_none_is_named(tmp_path: Path, name: str):
    path = tmp_path / "a.csv"
    path.write_text(BODY, encoding="utf-8")
    with pytest.raises(TableError, match=f"'{name}'"):
        read_sheet(path, encoding=name)


def test_a_told_encoding_drops_the_byte_order_mark(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(BODY, encoding="utf-8-sig")
    assert read_sheet(path, encoding="utf-8").header == ROWS[0]
    with pytest.raises(TableError, match="for text files"):
        read_sheet(excel(tmp_path / "a.xlsx", {"s": ROWS}), encoding="utf-8")


# --- finding the table ---


def test_header_junk_and_an_empty_sheet_are_passed_over(tmp_path: Path):
    rows = [["某市2026年申报汇总"], [], ["单位：科技局", "", ""], *ROWS]
    sheet = read_sheet(excel(tmp_path / "a.xlsx", {"封面": [], "申报": rows}))
    assert sheet.header == ROWS[0]
    assert sheet.text_columns == (1, 2)
    assert sheet.preamble[0][0] == "某市2026年申报汇总"
    assert len(cells(sheet)) == 2


def test_a_cell_that_is_called_like_a_column_is_no_header(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(
        "序号,材料类型,详情\n1,承诺书,已盖章并由法定代表人签字后随件提交\n2,申报书,用视觉模型检测钢板缺陷并替代人工\n",
        encoding="utf-8",
    )
    sheet = read_sheet(path)
    assert sheet.header == ["序号", "材料类型", "详情"]
    assert sheet.text_columns == (2,)


@pytest.mark.parametrize(
    "name",
    [
        "项目\n简介",
        "*项目简介：",
        "项目简介（500字以内）",
        "项目简介（不超过500字，须写明建设内容、技术路线、应用场景、预期成效与推广价值等）",
        " Project Summary ",
    ],
)
def test_column_names_as_forms_have_them(tmp_path: Path, name: str):
    sheet = read_sheet(
        excel(tmp_path / "a.xlsx", {"s": [["序号", "单位", name], [1, "甲", "食堂装修"], [2, "乙", "修路"]]})
    )
    assert sheet.text_columns == (2,)
    assert len(cells(sheet)) == 2


def test_a_list_without_a_header_is_said_to_have_none(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("用视觉模型检测钢板表面缺陷并替代人工质检\n县道改建工程路基拓宽与沥青面层摊铺\n", encoding="utf-8")
    with pytest.raises(TableError, match="no text column"):
        read_sheet(path)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_table_not_of_the_title(tmp_path: Path, mark: str):
    path = tmp_path / "a.csv"
    rows = [f"{i}{mark}We build a thing, and more of it" for i in range(4)]
    rows = [r.replace(", and", " and") for r in rows] if mark == "," else rows
    path.write_text("\n".join(["Applications (2026)", f"id{mark}text", *rows]) + "\n")
    sheet = read_sheet(path)
    assert sheet.header == ["id", "text"]
    assert len(cells(sheet)) == 4


def test_two_sheets_with_applications_are_asked_about(tmp_path: Path):
    path = excel(tmp_path / "a.xlsx", {"2025": ROWS, "2026": ROWS})
    with pytest.raises(TableError, match=r"sheets '2025', '2026' each have a text column.*--sheet"):
        read_sheet(path)


def test_a_sheet_of_instructions_does_not_win_over_the_table(tmp_path: Path):
    notes = [
        ["填表说明"],
        ["请各单位如实填写，逾期不予受理，联系电话见附件。"],
        ["每个单位限报两项，须加盖公章后扫描上传系统。"],
    ]
    sheet = read_sheet(excel(tmp_path / "a.xlsx", {"填表说明": notes, "申报表": ROWS}))
    assert sheet.header == ROWS[0]
    assert "not read: 填表说明" in sheet.remarks


def test_bit_flips_never_escape_as_something_else(tmp_path: Path):
    good = excel(tmp_path / "good.xlsx", {"s": ROWS * 5}).read_bytes()
    rng = random.Random(1)
    bad = tmp_path / "bad.xlsx"
    for _ in range(300):
        data = bytearray(good)
        for _ in range(3):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        bad.write_bytes(data)
        try:
            cells(read_sheet(bad))
        except TableError:
            continue


def test_text_column_is_found_by_length(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,what it is\n1,A camera that finds cracks in rails by itself\n2,Repaving of a county road\n")
    assert read_sheet(path).text_columns == (1,)


@pytest.mark.parametrize("body", ["id,amount\n1,2\n3,4\n", "1,2\n3,4\n", "\n\n\n", "id\n"])
def test_no_text_column_is_one_clear_error(tmp_path: Path, body: str):
    path = tmp_path / "a.csv"
    path.write_text(body)
    with pytest.raises(TableError, match=r"no text column found.*--text"):
        read_sheet(path)


def test_named_columns(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,Foo ,bar\n1,x,y\n")
    assert read_sheet(path, text=["bar", "foo"]).text_columns == (2, 1)
    with pytest.raises(TableError, match=r"no column 'baz'; columns: 'id', 'Foo ', 'bar'"):
        read_sheet(path, text=["baz"])


def test_sheet_by_name(tmp_path: Path):
    path = excel(tmp_path / "a.xlsx", {"一": ROWS, "二": [["x", "text"], [1, "abc"]]})
    assert read_sheet(path, sheet="二").header == ["x", "text"]
    with pytest.raises(TableError, match=r"no sheet '三'; sheets: 一, 二"):
        read_sheet(path, sheet="三")


@pytest.mark.parametrize("name", ["missing.csv", "folder.csv"])
def test_missing_file(tmp_path: Path, name: str):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match="no such file"):
        read_sheet(tmp_path / name)


def test_empty_unknown_and_broken_files(tmp_path: Path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "a.docx").write_text("x")
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 not really")
    for name, message in (("a.csv", "is empty"), ("a.docx", "unknown kind"), ("a.xlsx", "not a readable Excel file")):
        with pytest.raises(TableError, match=message):
            read_sheet(tmp_path / name)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = tmp_path / "a.xlsx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as entry,
    ):
        for _ in range(1100):
            entry.write(b" " * (1 << 20))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(TableError, match="refused"):
        read_sheet(path)


# --- tagging a table ---


def run(tagger: Tagger, source: Path, target: Path, **options: object):
    return tag_table(tagger, source, target, **{"language": "en", **options})


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as data:
        return list(csv.reader(data))


def test_every_column_and_row_is_kept_in_order(tiny_tagger: Tagger, tmp_path: Path):
    rows = [["no", "text", "x"], *[[str(i), f"钢板缺陷 {i}", "=1+1" if i % 7 == 0 else "y"] for i in range(300)]]
    source = tmp_path / "a.csv"
    with source.open("w", encoding="gb18030", newline="") as data:
        csv.writer(data).writerows(rows)
    summary = run(tiny_tagger, source, tmp_path / "b.csv")
    out = read_csv(tmp_path / "b.csv")
    assert summary.rows == summary.tagged == 300
    assert out[0][:4] == ["no", "text", "x", "AI-related"]
    assert [r[:2] for r in out[1:]] == [r[:2] for r in rows[1:]]
    assert out[1][2] == "'=1+1"
    assert out[2][2] == "y"
    texts = [r[1] for r in rows[1:]]
    assert [r[3] == "yes" for r in out[1:]] == [t.aligned for t in tiny_tagger.tag_batch(texts)]


def test_empty_emoji_blank_and_long_rows_are_marked_not_fatal(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("no,text\n1,\n2,😀😀😀\n,\n4," + "钢板" * 15_000 + ",extra\n5,model\n", encoding="utf-8")
    summary = run(tiny_tagger, source, tmp_path / "b.csv")
    out = read_csv(tmp_path / "b.csv")
    note = out[0].index("Note")
    assert "no text" in out[1][note]
    assert "not readable" in out[2][note]
    assert out[3] == [""] * len(out[3])
    assert "more cells" in out[4][note]
    assert out[4][-1] == "extra"
    assert out[4][1] == "钢板" * 15_000
    assert out[5][2] in ("yes", "no")
    assert (summary.rows, summary.tagged, summary.empty, summary.unreadable) == (5, 2, 1, 1)


def test_excel_keeps_numbers_dates_and_long_text_and_runs_no_formula(tiny_tagger: Tagger, tmp_path: Path):
    text = "钢板缺陷" * 7500
    rows = [["no", "text", "when", "f"], [20260001, text, datetime.date(2026, 3, 1), "=HYPERLINK(1)"]]
    run(tiny_tagger, excel(tmp_path / "a.xlsx", {"s": rows}), tmp_path / "b.xlsx", scores=True)
    with zipfile.ZipFile(tmp_path / "b.xlsx") as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    sheet = read_sheet(tmp_path / "b.xlsx", text=["text"])
    (row,) = cells(sheet)
    assert row[0] == 20260001
    assert row[1] == text
    assert row[2] == datetime.date(2026, 3, 1)
    assert row[3] == "=HYPERLINK(1)"
    assert sum(name.startswith("P: ") for name in sheet.header) == 21


def test_json_lines_keep_every_field_and_mark_broken_lines(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.jsonl"
    lines = [
        '{"text": "钢板缺陷", "n": {"a": [1]}, "duibiao": 1}',
        "{broken",
        "[1]",
        '{"text": "\\ud800"}',
        '{"other": 1}',
    ]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    summary = run(tiny_tagger, source, tmp_path / "b.jsonl")
    out = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()]
    assert out[0]["n"] == {"a": [1]}
    assert out[0]["duibiao"] == 1
    assert set(out[0]["duibiao_2"]) >= {"aligned", "domains", "supports", "sections", "scores", "needs_review"}
    assert out[1]["line"] == "{broken"
    assert "line 2 is not JSON" in out[1]["duibiao"]["note"]
    assert "no JSON object" in out[2]["duibiao"]["note"]
    assert out[3]["text"] == "\ud800"
    assert summary.faulty == 2
    assert summary.empty == 1


def test_json_lines_that_no_json_reader_takes_are_faulty(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.jsonl"
    lines = [
        '{"text": "钢板", "n": NaN}',
        '{"text": "钢板", "n": 1e400}',
        '{"text": "a", "n": ' + "9" * 5000 + "}",
        '{"text": "钢板"}',
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    assert run(tiny_tagger, source, tmp_path / "b.jsonl").faulty == 3
    out = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in out[:3]] == lines[:3]


def test_columns_become_json_lines_without_loss(tiny_tagger: Tagger, tmp_path: Path):
    rows = [["备注", "备注", "text", ""], [20260001, "b", "钢板缺陷", "d"]]
    run(tiny_tagger, excel(tmp_path / "a.xlsx", {"s": rows}), tmp_path / "b.jsonl", text=["text"])
    (line,) = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) | {"duibiao": 0} == {
        "备注": 20260001,
        "备注_2": "b",
        "text": "钢板缺陷",
        "column_4": "d",
        "duibiao": 0,
    }


def test_a_cut_cell_is_said(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("no,text\n1," + "钢板" * 20_000 + "\n", encoding="utf-8")
    run(tiny_tagger, source, tmp_path / "b.xlsx")
    run(tiny_tagger, source, tmp_path / "b.csv")
    assert "32,767" in str(cells(read_sheet(tmp_path / "b.xlsx", text=["text"]))[0])
    assert "32,767" not in str(read_csv(tmp_path / "b.csv"))


def test_an_absurdly_long_cell_is_not_tagged(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("no,text\n1," + "钢" * 1_000_001 + "\n2,钢板\n", encoding="utf-8")
    summary = run(tiny_tagger, source, tmp_path / "b.csv")
    assert (summary.rows, summary.tagged, summary.empty) == (2, 1, 0)
    assert "over a million" in read_csv(tmp_path / "b.csv")[1][-2]


def test_json_lines_become_columns(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "钢板"}\n{"text": "road", "later": 2}\n{oops\n', encoding="utf-8")
    run(tiny_tagger, source, tmp_path / "b.csv")
    out = read_csv(tmp_path / "b.csv")
    assert out[0][:2] == ["text", "later"]
    assert out[2][:2] == ["road", "2"]
    assert out[3][0] == "{oops"


def test_taken_names_are_left_alone(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("text,Note\n钢板缺陷,mine\n", encoding="utf-8")
    run(tiny_tagger, source, tmp_path / "b.csv")
    header, row = read_csv(tmp_path / "b.csv")
    assert "Note_2" in header
    assert row[1] == "mine"


def test_output_is_whole_or_not_there(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("no,text\n" + "".join(f"{i},钢板\n" for i in range(400)), encoding="utf-8")
    target = tmp_path / "b.csv"
    target.write_text("before")
    blocks: list[int] = []

    def fail(done: int) -> None:
        blocks.append(done)
        if len(blocks) % 2 == 0:  # in the second block
            raise OSError(28, "No space left on device")

    with pytest.raises(TableError, match="No space left"):
        run(tiny_tagger, source, target, advance=fail)
    assert target.read_text() == "before"
    with pytest.raises(TableError, match="No space left"):
        run(tiny_tagger, source, tmp_path / "c.xlsx", advance=fail)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_source_is_never_the_target(tiny_tagger: Tagger, tmp_path: Path):
    source = tmp_path / "a.csv"
    source.write_text("text\n钢板缺陷检测用视觉模型完成自动识别与分类\n", encoding="utf-8")
    with pytest.raises(TableError, match="is the file that is read"):
        run(tiny_tagger, source, source)


def test_a_folder_that_is_not_there(tiny_tagger: Tagger, tmp_path: Path):
    with pytest.raises(TableError, match="cannot write there"), write_whole(tmp_path / "no" / "b.csv"):
        pass


@pytest.mark.parametrize("value", ["=1", "+cmd", "-2+3", "@x", "\t=1", "＝1", " =1", "-a", "a;=1", "a\t@x"])
def test_formulas_are_neutralised(value: str):
    assert neutralise(value) == "'" + value


@pytest.mark.parametrize("value", ["-5", "+86 138 0013 8000", "3.5%", "abc", "", "-1,234.5", 7, None])
def test_plain_values_stay(value: object):
    assert neutralise(value) == value


def test_rows_stream(tmp_path: Path):
    """A table is not read whole: a fault far down is not met before the rows above it were given out."""
    source = tmp_path / "a.csv"
    source.write_text("no,text\n" + "1,钢板\n" * 500 + '2,"unclosed\n' + "x\n" * 3000, encoding="utf-8")
    rows = read_sheet(source).rows
    assert [next(rows) for _ in range(500)] == [Row(["1", "钢板"])] * 500
    with pytest.raises(TableError, match=r"line 502: one row spans 3,001 lines; a quotation mark is not closed"):
        next(rows)
