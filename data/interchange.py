"""Annotation formats: Label Studio JSON, doccano JSON Lines, and a workbook with one sheet for each coder.

All three carry the same :class:`Task`: a text with the labels that each annotator gave it, or none yet. What one format
writes it reads back without loss, so a set of applications can go out to be labelled and come home as records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from .errors import RecordError
from .records import Proposal, digest, parse_proposal
from .taxonomy import LANGUAGES, Language, Taxonomy

Format = Literal["label-studio", "doccano", "workbook"]
FORMATS: tuple[Format, ...] = ("label-studio", "doccano", "workbook")
CODERS = ("A", "B")
"""Sheets of a workbook; its coders, unless the sheet's column ``annotator`` names them."""
UNALIGNED = "unaligned"
"""Choice of a text that is not about AI, so that it differs from one that nobody has labelled yet."""
_CARRIED = ("id", "project", "lang", "style", "source")
_CELL = 16_000
"""Characters that go into one cell; Excel holds 32,767 UTF-16 units, and a character may take two."""
_ILLEGAL = re.compile(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that neither XML nor a spreadsheet can hold."""


@dataclass(frozen=True)
class Task:
    """A text to label, or labelled by one or more annotators.

    ``labelled`` holds one record for each annotator, all with this text.
    """

    id: str
    project: str
    lang: Language
    text: str
    style: str = ""
    source: str = ""
    labelled: tuple[Proposal, ...] = ()


def tasks_of(proposals: Iterable[Proposal]) -> list[Task]:
    """One task a text; records of the same id (several annotators) are put together."""
    found: dict[str, Task] = {}
    for p in proposals:
        if not p.has_text:
            raise RecordError(f"{p.id}: the text is kept elsewhere; give it with --texts")
        task = found.get(p.id) or Task(p.id, p.project, p.lang, p.text, p.style, p.source)
        if task.text != p.text:
            raise RecordError(f"{p.id}: the id stands for two different texts")
        found[p.id] = replace(task, labelled=(*task.labelled, p))
    return list(found.values())


def printable(text: str) -> str:
    """The text as every format can carry it: lines end in LF, no control characters."""
    return _ILLEGAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _sound(tasks: Sequence[Task]) -> Sequence[Task]:
    for task in tasks:
        if task.text != printable(task.text):
            raise RecordError(f"{task.id}: the text has control characters or CR line ends, which would not come back")
    return tasks


def _record(
    task: Task, chosen: Iterable[str], annotator: str, note: str, traps: Iterable[str], taxonomy: Taxonomy
) -> Proposal:
    """Check what an annotator chose and make a record of it; ``aligned`` follows from any label."""
    names = set(chosen)
    if UNALIGNED in names and len(names) > 1:
        raise RecordError(f"{task.id}: {annotator or 'the annotator'} chose {UNALIGNED!r} together with labels")
    if unknown := names - {UNALIGNED, *taxonomy.label_ids}:
        raise RecordError(f"{task.id}: unknown label {min(unknown)!r}")
    raw = {name: getattr(task, name) for name in (*_CARRIED, "text")} | {
        "aligned": UNALIGNED not in names,
        "domains": [i for i in taxonomy.domain_ids if i in names],
        "supports": [i for i in taxonomy.support_ids if i in names],
        "traps": sorted(set(traps)),
        "note": note,
        "annotator": annotator,
    }
    try:
        record = parse_proposal(raw, taxonomy)
    except RecordError as error:
        raise RecordError(f"{task.id}: {error}") from None
    return replace(record, traps=tuple(i for i in taxonomy.label_ids if i in record.traps))


def _choices(proposal: Proposal, taxonomy: Taxonomy) -> list[str]:
    return [taxonomy.gate.id, *proposal.labels] if proposal.aligned else [UNALIGNED]


def _task(raw: Any, where: str) -> Task:
    """Read what every format carries beside the labels."""
    values: dict[str, Any] = {name: raw.get(name) or "" for name in (*_CARRIED, "text")}
    for name, value in values.items():
        if not isinstance(value, str):
            raise RecordError(f"{where}: field '{name}' must be a string")
    for name in ("id", "text"):
        if not values[name].strip():
            raise RecordError(f"{where}: field '{name}' is missing or empty")
    if values["lang"] not in LANGUAGES:
        raise RecordError(f"{where}: field 'lang' must be one of {LANGUAGES}, not {values['lang']!r}")
    return Task(
        values["id"],
        values["project"] or values["id"],
        values["lang"],
        values["text"],
        values["style"],
        values["source"],
    )


# ---- Label Studio: https://labelstud.io/guide/export.html#Raw-JSON-format-of-completed-tasks ----


def label_studio_config(taxonomy: Taxonomy) -> str:
    """The labelling interface to paste into a Label Studio project: the gate, domains, support areas, a note."""

    def choice(value: str, zh: str, en: str, hint: str = "") -> str:
        shown = f"{zh} · {en}"
        return f"    <Choice value={quoteattr(shown)} alias={quoteattr(value)} hint={quoteattr(hint)}/>"

    def group(name: str, kind: str, lines: Iterable[str], required: str = "false") -> str:
        head = f'  <Choices name="{name}" toName="text" choice="{kind}" required="{required}">'
        return "\n".join([head, *lines, "  </Choices>"])

    def listed(labels: Iterable[Any]) -> list[str]:
        return [choice(x.id, x.name.zh, x.name.en, f"{x.definition.zh} {x.definition.en}") for x in labels]

    gate = [*listed([taxonomy.gate]), choice(UNALIGNED, "无关", "not aligned")]
    return "\n".join(
        [
            "<View>",
            '  <Text name="text" value="$text"/>',
            group("gate", "single", gate, "true"),
            group("domains", "multiple", listed(taxonomy.domains)),
            group("supports", "multiple", listed(taxonomy.supports)),
            group("traps", "multiple", listed((*taxonomy.domains, *taxonomy.supports))),
            '  <TextArea name="note" toName="text" editable="true" maxSubmissions="1"/>',
            "</View>",
            "",
        ]
    )


def to_label_studio(tasks: Sequence[Task], taxonomy: Taxonomy) -> str:
    """JSON to import into Label Studio; existing labels go along as annotations."""

    def choices(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
        found = {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(values)}}
        return [found] if values else []

    def annotation(p: Proposal) -> dict[str, Any]:
        note = {"from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": [p.note]}}
        result = [
            *choices("gate", _choices(p, taxonomy)[:1]),
            *choices("domains", p.domains),
            *choices("supports", p.supports),
            *choices("traps", p.traps),
            *([note] if p.note else []),
        ]
        # Not "completed_by": Label Studio refuses an import that names people it does not know.
        return {"meta": {"annotator": p.annotator} if p.annotator else {}, "result": result}

    body = [
        {
            "data": {name: getattr(task, name) for name in (*_CARRIED, "text")},
            "annotations": [annotation(p) for p in task.labelled],
        }
        for task in tasks
    ]
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def from_label_studio(text: str, taxonomy: Taxonomy) -> list[Task]:
    """Tasks of a Label Studio JSON export; cancelled and empty annotations are left out."""
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"not JSON: line {error.lineno}: {error.msg}") from error
    if not isinstance(body, list):
        raise RecordError("a Label Studio export is a JSON list of tasks")
    found = []
    for number, item in enumerate(body, 1):
        where = f"task {number}"
        if not isinstance(item, dict) or not isinstance(item.get("data"), dict):
            raise RecordError(f"{where}: field 'data' is missing (export as 'JSON', not 'JSON-MIN')")
        task = _task(item["data"], where)
        labelled = tuple(
            _from_annotation(task, a, taxonomy)
            for a in item.get("annotations") or ()
            if a.get("result") and not a.get("was_cancelled")
        )
        found.append(replace(task, labelled=labelled))
    return found


def _from_annotation(task: Task, annotation: dict[str, Any], taxonomy: Taxonomy) -> Proposal:
    values: dict[str, list[str]] = {}
    for result in annotation["result"]:
        value = result.get("value", {})
        given = value.get("choices") or value.get("text") or []
        values.setdefault(result.get("from_name", ""), []).extend([given] if isinstance(given, str) else given)
    if len(values.get("gate", ())) != 1:
        raise RecordError(f"{task.id}: an annotation must have one choice in 'gate'")
    who = annotation.get("completed_by") or (annotation.get("meta") or {}).get("annotator") or ""
    name = (who.get("email") or str(who.get("id") or "")) if isinstance(who, dict) else str(who)
    chosen = (c for field in ("gate", "domains", "supports") for c in values.get(field, ()))
    return _record(task, chosen, name, "\n".join(values.get("note", ())), values.get("traps", ()), taxonomy)


# ---- doccano: https://doccano.github.io/doccano/tutorial/ (text classification, JSONL) ----


def to_doccano(tasks: Sequence[Task], taxonomy: Taxonomy) -> str:
    """JSON Lines to import into doccano as text classification: one line a text and annotator.

    doccano numbers texts itself, so the record's id travels as ``record_id``; other fields travel as metadata.
    """
    lines = []
    for task in tasks:
        meta = {name: getattr(task, name) for name in _CARRIED if name != "id" and getattr(task, name)}
        for p in task.labelled or (None,):
            row = {"text": task.text, "label": _choices(p, taxonomy) if p else [], "record_id": task.id, **meta}
            if p:  # who said so; void as soon as the labels that come back are others
                own = {name: value for name in ("annotator", "note", "traps") if (value := getattr(p, name))}
                row["labelled_by"] = {"label": row["label"], **own}
            lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def from_doccano(text: str, taxonomy: Taxonomy, annotator: str = "", default: str = "") -> list[Task]:
    """Tasks of a doccano JSONL export, one file an annotator.

    Labels that are just as they were sent out keep their annotator, unless ``annotator`` claims them; others are of
    ``annotator`` or else ``default``.
    """
    found: dict[str, Task] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: texts may hold U+2028
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            raw = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"{where}: not JSON: {error.msg}") from error
        if not isinstance(raw, dict):
            raise RecordError(f"{where}: must be a JSON object")
        task = _task(raw | {"id": str(raw.get("record_id") or raw.get("id") or "")}, where)
        task = found.setdefault(task.id, task)
        if raw["text"] != task.text:
            raise RecordError(f"{where}: {task.id!r} stands for two different texts")
        chosen = raw.get("label") or []
        if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
            raise RecordError(f"{where}: field 'label' must be a list of label names (text classification)")
        if chosen:
            carried = raw.get("labelled_by") or {}
            if set(chosen) != set(carried.get("label", ())) or annotator:  # not as sent out: somebody's own work
                carried = {"annotator": annotator or default}
            who, note, traps = (carried.get(name) or "" for name in ("annotator", "note", "traps"))
            proposal = _record(task, chosen, who, note, traps, taxonomy)
            found[task.id] = replace(task, labelled=(*task.labelled, proposal))
    return list(found.values())


# ---- a workbook for two coders ----

_FIXED = ("id", "project", "lang", "style", "source", "sha256", "annotator")


def write_workbook(path: Path, tasks: Sequence[Task], taxonomy: Taxonomy, language: Language = "zh") -> None:
    """An Excel workbook with a sheet for each of two coders and one that explains the labels.

    A coder types x under each label that applies; ``aligned`` is x or 0. Texts beyond one cell go on in the next.
    """
    import xlsxwriter

    if crowded := next((task for task in tasks if len(task.labelled) > len(CODERS)), None):
        raise RecordError(
            f"{crowded.id}: a workbook has room for {len(CODERS)} annotators, not {len(crowded.labelled)}"
        )
    widest = max((-(-len(task.text) // _CELL) for task in tasks), default=1)
    texts = ["text", *(f"text {i}" for i in range(2, widest + 1))]
    header = [*_FIXED, *texts, *taxonomy.label_ids, "traps", "note"]
    start = len(_FIXED) + widest
    with xlsxwriter.Workbook(
        path, {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    ) as book:
        bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
        for number, coder in enumerate(CODERS):
            sheet = book.add_worksheet(coder)
            sheet.write_row(0, 0, header, bold)
            sheet.freeze_panes(1, 1)
            sheet.set_column(1, len(_FIXED) - 1, None, None, {"hidden": True})
            sheet.set_column(len(_FIXED), start - 1, 90, wrapped)
            for k, label in enumerate(taxonomy.labels):
                sheet.write_comment(0, start + k, f"{label.name[language]}\n{label.definition[language]}")
            if tasks:
                last = start + len(taxonomy.labels) - 1
                sheet.data_validation(1, start, len(tasks), start, {"validate": "list", "source": ["x", "0"]})
                sheet.data_validation(1, start + 1, len(tasks), last, {"validate": "list", "source": ["x"]})
            for row, task in enumerate(tasks, 1):
                p = task.labelled[number] if number < len(task.labelled) else None
                cells = [task.id, task.project, task.lang, task.style, task.source, digest(task.text)]
                cells.append(p.annotator if p else coder)
                pieces = [task.text[i : i + _CELL] for i in range(0, len(task.text), _CELL)]
                cells += [*pieces, *[""] * (widest - len(pieces))]
                if p:
                    marks = taxonomy.encode(p.aligned, p.domains, p.supports)
                    cells += ["x" if m else "0" if not k else "" for k, m in enumerate(marks)]
                    cells += [", ".join(p.traps), p.note]
                for column, cell in enumerate(cells):
                    if cell and sheet.write_string(row, column, cell) < 0:
                        raise RecordError(f"{task.id}: field {header[column]!r} is too long for a cell")
        legend = book.add_worksheet("labels")
        legend.set_column(0, 2, 28)
        legend.set_column(3, 4, 90, wrapped)
        legend.write_row(0, 0, ["id", "中文", "English", "适用", "applies to"], bold)
        for row, label in enumerate(taxonomy.labels, 1):
            legend.write_row(row, 0, [label.id, label.name.zh, label.name.en, label.definition.zh, label.definition.en])


def read_workbook(path: Path, taxonomy: Taxonomy) -> list[Task]:
    """Tasks of a filled-in workbook; a row where a coder left ``aligned`` empty counts as not labelled yet.

    Raises :class:`RecordError` naming sheet and row for a mark that is none, and for a text that was edited.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        book = CalamineWorkbook.from_path(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in CODERS}
    except (CalamineError, OSError, ValueError) as error:
        raise RecordError(f"{path}: not a workbook with sheets {' and '.join(CODERS)}: {error}") from error
    found: dict[str, Task] = {}
    seen: set[tuple[str, str]] = set()
    for coder, rows in sheets.items():
        header = [str(cell) for cell in rows[0]] if rows else []
        if missing := [name for name in (*_FIXED, "text", *taxonomy.label_ids) if name not in header]:
            raise RecordError(f"{path}, sheet {coder}: column {missing[0]!r} is missing")
        for number, cells in enumerate(rows[1:], 2):
            row = dict(zip(header, map(_plain, cells), strict=True))
            if not row["id"]:
                continue
            where = f"{path.name}, sheet {coder}, row {number}"
            text = "".join(row[name] for name in header if re.fullmatch(r"text( \d+)?", name))
            task = _task(row | {"text": text}, where)
            if digest(task.text) != row["sha256"]:
                raise RecordError(f"{where}: the text was edited, so its labels may not be those of the text sent out")
            if (coder, task.id) in seen:
                raise RecordError(f"{where}: id {task.id!r} occurs twice")
            seen.add((coder, task.id))
            task = found.setdefault(task.id, task)
            if proposal := _from_row(task, row, row["annotator"] or coder, where, taxonomy):
                found[task.id] = replace(task, labelled=(*task.labelled, proposal))
    return list(found.values())


def _plain(cell: Any) -> str:
    """What a cell says; spreadsheets make numbers of 0 and 1."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _from_row(task: Task, row: dict[str, str], coder: str, where: str, taxonomy: Taxonomy) -> Proposal | None:
    marks = {}
    for name in taxonomy.label_ids:
        mark = row[name].strip().lower()
        if mark not in ("x", "×", "1", "0", ""):
            raise RecordError(f"{where}, column {name!r}: {row[name]!r} is no mark; type x, or leave it empty")
        marks[name] = mark
    gate = taxonomy.gate.id
    chosen = [name for name, mark in marks.items() if mark in ("x", "×", "1") and name != gate]
    if not marks[gate]:
        if chosen:
            raise RecordError(f"{where}, column {gate!r}: is empty though {chosen[0]!r} is marked")
        return None
    traps = [name for name in re.split(r"[,，、;；\s]+", row.get("traps", "")) if name]
    return _record(
        task, [UNALIGNED if marks[gate] == "0" else gate, *chosen], coder, row.get("note", ""), traps, taxonomy
    )


# ---- one door ----


def write_tasks(path: Path, tasks: Sequence[Task], form: Format, taxonomy: Taxonomy, language: Language = "zh") -> None:
    """Write tasks in an annotation format; Label Studio also gets ``<name>.xml``, the labelling interface."""
    _sound(tasks)
    interface = path.with_suffix(".xml")
    for target in (path, interface) if form == "label-studio" else (path,):
        if target.exists():
            raise RecordError(f"{target} exists; choose another name, so that no work is lost")
    if not path.parent.is_dir():
        raise RecordError(f"{path.parent} is no folder")
    if form == "workbook":
        write_workbook(path, tasks, taxonomy, language)
    elif form == "doccano":
        path.write_text(to_doccano(tasks, taxonomy), encoding="utf-8")
    else:
        path.write_text(to_label_studio(tasks, taxonomy), encoding="utf-8")
        interface.write_text(label_studio_config(taxonomy), encoding="utf-8")


def read_tasks(path: Path, form: Format, taxonomy: Taxonomy, annotator: str = "") -> list[Task]:
    """Read what annotators did; raises :class:`RecordError` naming the file and the place."""
    if form == "workbook":
        return read_workbook(path, taxonomy)
    try:
        text = path.read_text(encoding="utf-8-sig")
        return (
            from_doccano(text, taxonomy, annotator, path.stem)
            if form == "doccano"
            else from_label_studio(text, taxonomy)
        )
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: {error}") from error
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None


def passes(tasks: Iterable[Task]) -> dict[str, list[Proposal]]:
    """Records by annotator, in the order in which annotators first occur; raises where one labelled a text twice."""
    found: dict[str, dict[str, Proposal]] = {}
    for task in tasks:
        for proposal in task.labelled:
            own = found.setdefault(proposal.annotator, {})
            if proposal.id in own:
                raise RecordError(f"{proposal.id}: {proposal.annotator or 'one annotator'} labelled the text twice")
            own[proposal.id] = proposal
    return {annotator: list(own.values()) for annotator, own in found.items()}
