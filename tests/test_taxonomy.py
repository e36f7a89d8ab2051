from __future__ import annotations

import json
from importlib.resources import files

import pytest

from duibiao.data.errors import TaxonomyError
from duibiao.data.taxonomy import Taxonomy, parse_taxonomy


@pytest.fixture
def raw() -> dict:
    return json.loads((files("duibiao.data") / "taxonomy.json").read_text(encoding="utf-8"))


def test_six_domains_fourteen_supports_fourteen_sections(taxonomy: Taxonomy):
    assert len(taxonomy.domains) == 6
    assert len(taxonomy.supports) == 14
    assert len(taxonomy.sections) == 14
    per_section = [sum(s.section == n for s in taxonomy.supports) for n in range(7, 15)]
    assert per_section == [2, 2, 2, 3, 1, 1, 2, 1]


def test_clauses_are_numbered_as_in_the_opinions(taxonomy: Taxonomy):
    ids = [c.id for d in taxonomy.domains for c in d.clauses]
    expected = [
        f"二({o}){n}" for o, count in zip("一二三四五六", (3, 4, 2, 3, 3, 2), strict=True) for n in range(1, count + 1)
    ]
    assert ids == expected


def test_roll_up(taxonomy: Taxonomy):
    assert taxonomy.sections_of(["safety", "datasets", "data_rights_circulation", "science_technology"]) == (1, 8, 14)
    assert taxonomy.sections_of([]) == ()


def test_encode_follows_column_order(taxonomy: Taxonomy):
    row = taxonomy.encode(True, ["global_cooperation"], ["safety"])
    assert [i for i, on in zip(taxonomy.label_ids, row, strict=True) if on] == [
        "aligned",
        "global_cooperation",
        "safety",
    ]
    with pytest.raises(TaxonomyError, match="nonsense"):
        taxonomy.encode(True, ["nonsense"], [])


def _set(path: list, value: object):
    def change(raw: dict) -> None:
        node = raw
        for key in path[:-1]:
            node = node[key]
        if value is KeyError:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_set(["version"], KeyError), "version"),
        (_set(["version"], 3), "version"),
        (_set(["gate", "name", "zh"], ""), r"gate\.name\.zh"),
        (_set(["domains", 1, "definition", "en"], KeyError), r"domains\[1\]\.definition\.en"),
        (_set(["domains", 2, "clauses", 0, "heading"], []), r"domains\[2\]\.clauses\[0\]\.heading"),
        (_set(["supports", 3, "section"], 15), r"supports\[3\]\.section"),
        (_set(["supports", 3, "section"], "8"), r"supports\[3\]\.section"),
        (_set(["supports", 4, "id"], "safety"), r"supports\[13\]\.id"),
        (_set(["sections", 0, "number"], 2), "sections"),
        (_set(["supports"], []), "supports"),
    ],
)
def test_a_broken_file_names_the_field(raw: dict, change, field: str):
    change(raw)
    with pytest.raises(TaxonomyError, match=field):
        parse_taxonomy(json.dumps(raw), "x.json")


def test_not_json_names_the_line():
    with pytest.raises(TaxonomyError, match="line 2"):
        parse_taxonomy('{\n"version": }', "x.json")


def test_no_code_repeats_a_label(taxonomy: Taxonomy):
    """Label ids and names live in taxonomy.json alone."""
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent
    code = [p for folder in ("data", "model", "training", "serving") for p in (root / folder).rglob("*.py")]
    assert len(code) > 20
    words = {f'"{label.id}"' for label in taxonomy.labels} | {
        n for label in taxonomy.labels for n in (label.name.zh, label.name.en)
    }
    found = {(p.name, word) for p in code for word in words if word in p.read_text(encoding="utf-8")}
    # the field of records and results that holds the gate, and an imported library
    fields = {(name, '"aligned"') for name in ("records.py", "batch.py", "interchange.py", "label_errors.py")}
    assert found <= {*fields, ("cli.py", '"datasets"')}
