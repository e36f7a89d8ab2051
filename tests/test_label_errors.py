"""The search for wrong labels: a planted one comes up, and nobody is judged by a model that has seen the label."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from duibiao.data.records import parse_proposal
from duibiao.training.label_errors import out_of_fold, suspects, write_suspects

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
        raw = base | {"id": str(n), "project": f"p{n // 2 * 2 + n % 2}", "text": text, "domains": [domain]}
        found.append(parse_proposal(raw, taxonomy))
    return found


def _truth(proposals, taxonomy):
    return np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals], dtype=bool)


def test_planted_errors_come_first(taxonomy, tmp_path: Path):
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
    write_suspects(tmp_path / "suspects.csv", found[:2])
    rows = list(csv.DictReader((tmp_path / "suspects.csv").open(encoding="utf-8-sig")))
    assert [row["id"] for row in rows] == ["10", "10"]
    assert rows[0]["text"] == proposals[10].text
    assert rows[0]["verdict"] == ""


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
