"""The search for wrong labels: a planted one comes up, and nobody is judged by a model that has seen the label."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from duibiao.data.errors import RecordError
from duibiao.data.records import parse_proposal, write_proposals
from duibiao.serving.cli import app
from duibiao.training.label_errors import out_of_fold, suspects

WORDS = {
    "public_wellbeing": ("病房", "护士", "学生", "课堂", "养老院"),
    "industrial_development": ("焊缝", "轧机", "矿山", "农机", "车间"),
}


def _records(taxonomy):
    base = {"lang": "zh", "aligned": True, "supports": []}
    rng = np.random.default_rng(0)
    found = []
    for n in range(60):
        domain = ("public_wellbeing", "industrial_development")[n % 2]
        text = "，".join(rng.choice(WORDS[domain], 4)) + f"的识别模型{n % 7}"
        raw = base | {"id": str(n), "project": f"p{n}", "text": text, "domains": [domain]}
        found.append(parse_proposal(raw, taxonomy))
    return found


def _truth(proposals, taxonomy):
    return np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals], dtype=bool)


def test_planted_errors_come_first(taxonomy):
    proposals = _records(taxonomy)
    truth = _truth(proposals, taxonomy)
    health, industry = (taxonomy.label_ids.index(name) for name in WORDS)
    truth[10, [health, industry]] = truth[10, [industry, health]]
    folds: list[int] = []
    scores = out_of_fold(proposals, truth, advance=lambda: folds.append(1))
    found = suspects(proposals, scores, truth, taxonomy)
    assert {(s.proposal.id, s.label) for s in found[:2]} == {("10", name) for name in WORDS}
    assert len(found) == truth.size
    assert len(folds) == 5


def test_a_projects_twin_is_in_its_fold(taxonomy):
    """Copies of one text, one of them mislabelled, share a project: neither may teach the other."""
    proposals = _records(taxonomy)
    odd = replace(proposals[0], id="odd", text="唯一的词语 唯一的词语", project="odd")
    twin = replace(odd, id="twin")
    truth = _truth(proposals, taxonomy)
    truth = np.vstack([truth, truth[1], truth[1]])
    safety = taxonomy.label_ids.index("safety")
    truth[-2:, safety] = True
    scores = out_of_fold([*proposals, odd, twin], truth)
    assert scores[-2:, safety].max() < 0.1


def test_the_command_writes_a_table_for_the_reviewer(taxonomy, tmp_path: Path):
    proposals = _records(taxonomy)
    proposals[3] = replace(proposals[3], text="=1+1，车间里的识别模型", domains=("public_wellbeing",))
    (tmp_path / "data/proposals").mkdir(parents=True)
    for name, part in (("train", proposals[:40]), ("validation", proposals[40:50]), ("test", proposals[50:])):
        write_proposals(tmp_path / f"data/proposals/{name}.jsonl", part)
    table = tmp_path / "suspects.csv"
    result = CliRunner().invoke(app, ["data", "suspects", str(tmp_path / "data"), "-o", str(table), "--count", "8"])
    assert result.exit_code == 0, result.output
    assert "8 of 1,260 decisions on 60 texts" in result.output
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 8
    planted = next(row for row in rows if row["id"] == "3")
    assert planted["text"] == "'" + proposals[3].text
    assert planted["verdict"] == ""


def test_too_few_projects_are_said_so(taxonomy):
    proposals = _records(taxonomy)[:4]
    with pytest.raises(RecordError, match="at least 5 projects"):
        out_of_fold(proposals, _truth(proposals, taxonomy))
