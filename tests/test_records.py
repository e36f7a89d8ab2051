from __future__ import annotations

import json
from pathlib import Path

import pytest

from duibiao.data.errors import RecordError
from duibiao.data.records import digest, load_texts, parse_proposal, read_proposals, write_proposals

GOOD = {
    "id": "a", "project": "p", "lang": "en", "text": "t", "aligned": True,
    "domains": ["science_technology"], "supports": ["safety"], "note": "n", "traps": ["talent"],
}  # fmt: skip


def test_round_trip(taxonomy, tmp_path: Path):
    proposal = parse_proposal(GOOD, taxonomy)
    write_proposals(tmp_path / "x.jsonl", [proposal])
    assert list(read_proposals(tmp_path / "x.jsonl", taxonomy)) == [proposal]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "  "}, "'text'"),
        ({"id": 3}, "'id'"),
        ({"lang": "fr"}, "'lang'"),
        ({"aligned": "yes"}, "'aligned'"),
        ({"aligned": False}, "'aligned'"),
        ({"domains": ["safety"]}, "'domains'.*'safety'"),
        ({"supports": "safety"}, "'supports'"),
        ({"supports": ["safety", "safety"]}, "'supports'.*twice"),
        ({"traps": ["safety"]}, "'traps'"),
    ],
)
def test_a_broken_record_names_file_line_and_field(change, message, taxonomy, tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(GOOD | change) + "\n")
    with pytest.raises(RecordError, match=rf"x\.jsonl:3: .*{message}"):
        list(read_proposals(path, taxonomy))


@pytest.mark.parametrize("field", ["id", "project", "lang", "text", "aligned", "domains", "supports"])
def test_a_missing_field_is_named(field, taxonomy):
    with pytest.raises(RecordError, match=f"'{field}' is missing"):
        parse_proposal({k: v for k, v in GOOD.items() if k != field}, taxonomy)


def test_labels_only_records_join_with_their_texts(taxonomy, tmp_path: Path):
    label = {k: v for k, v in GOOD.items() if k != "text"} | {"sha256": digest("the text")}
    (tmp_path / "labels.jsonl").write_text(json.dumps(label) + "\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "t.jsonl").write_text(json.dumps({"text": "the text"}) + "\n")
    assert list(read_proposals(tmp_path / "labels.jsonl", taxonomy)) == []
    texts = load_texts(tmp_path / "texts")
    assert [p.text for p in read_proposals(tmp_path / "labels.jsonl", taxonomy, texts)] == ["the text"]


def test_not_json_and_not_utf8_are_one_line_each(taxonomy, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(RecordError, match=r"a\.jsonl:1: not JSON"):
        list(read_proposals(tmp_path / "a.jsonl", taxonomy))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(RecordError, match="not UTF-8"):
        list(read_proposals(tmp_path / "b.jsonl", taxonomy))
    with pytest.raises(RecordError, match="No such file"):
        list(read_proposals(tmp_path / "c.jsonl", taxonomy))
