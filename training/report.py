"""The evaluation report as one HTML file: no script, no network, plots as inline SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from duibiao.data.bootstrap import without_nan
from duibiao.data.taxonomy import Taxonomy
from duibiao.training.evaluate import Evaluation, summary_rows

_PARTS = ("all", "zh", "en")


def write_json(path: Path, evaluations: Sequence[Evaluation], remarks: Sequence[str] = ()) -> None:
    """All measures as JSON."""
    body = {
        "remarks": list(remarks),
        "evaluations": [{"name": e.name, "data": e.data, "measures": without_nan(e.measures)} for e in evaluations],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _intervals(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Points with whiskers for the overview: one panel a file and measure, one row an evaluation and language."""
    measures = (("Domains", "domains"), ("Support areas", "supports"))
    return [
        {
            "title": f"{title}, micro-F1 · {data}",
            "rows": [
                {"label": f"{e.name}, {part}", "part": part, "estimate": e.measures[part][group]["micro_f1"]}
                for e in evaluations
                for part in _PARTS
                if e.data == data and part in e.measures
            ],
        }
        for data in dict.fromkeys(e.data for e in evaluations)
        for title, group in measures
    ]


def write_html(path: Path, evaluations: Sequence[Evaluation], taxonomy: Taxonomy, remarks: Sequence[str] = ()) -> None:
    """A self-contained page: summary tables, intervals, per-label bars."""
    source = (files("duibiao.training") / "report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    page = template.render(
        evaluations=[{"e": e, "rows": summary_rows(e)} for e in evaluations],
        panels=_intervals(evaluations),
        parts=_PARTS,
        taxonomy=taxonomy,
        remarks=remarks,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
