"""`duibiao data …`: check, describe, compare, split and exchange labelled data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from duibiao.data.bootstrap import without_nan
from duibiao.data.errors import RecordError
from duibiao.data.records import sound
from duibiao.data.taxonomy import Taxonomy, load_taxonomy

from .options import LangOption, TextsOption, bars, err, need, out
from .writers import neutralise

if TYPE_CHECKING:
    from duibiao.data.interchange import Task

data_app = typer.Typer(
    no_args_is_help=True, help="Labelled data: check, describe, exchange. 标注数据：检查、统计、交换。"
)
FolderArgument = Annotated[Path, typer.Argument(help="Folder with the splits. 数据目录。")]


class AnnotationFormat(StrEnum):
    """Annotation formats that can be written and read."""

    label_studio = "label-studio"
    doccano = "doccano"
    workbook = "workbook"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for a reviewer: UTF-8 with a mark so that Excel reads it, and no live formula."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([neutralise(cell) for cell in row] for row in rows)


def _table(*names: str, title: str = "") -> Table:
    """Names on the left, numbers on the right, narrow enough for 80 columns."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index else "left", no_wrap=not index)
    return table


def _elsewhere(folder: Path, texts: Path | None) -> dict[str, str] | None:
    """The texts that labels in ``folder`` stand for, where they are kept."""
    from duibiao.data.records import load_texts, wanted_texts

    return load_texts(texts, wanted_texts(folder.rglob("*.jsonl"))) if texts else None


@data_app.command()
def lint(folder: FolderArgument = Path("data"), texts: TextsOption = None) -> None:
    """Check schema, labels, counts, splits, frozen tests and near-duplicates. 检查数据。"""
    need("train", "sklearn")
    from duibiao.data.lint import lint as run

    findings = run(folder, load_taxonomy(), _elsewhere(folder, texts))
    for finding in findings:
        err.print(finding, highlight=False, markup=False, soft_wrap=True)
    if findings:
        raise typer.Exit(1)
    out.print("no fault found")


@data_app.command()
def stats(
    folder: FolderArgument = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots. 写出带图报告。")] = None,
) -> None:
    """Count records, labels, lengths. 统计数据。"""
    from duibiao.data.describe import describe

    taxonomy = load_taxonomy()
    found = describe(folder, taxonomy)
    if html:
        need("train", "jinja2")
        from duibiao.data.report import write_html

        write_html(html, folder, found, taxonomy)
    if as_json:
        out.print_json(json.dumps(asdict(found), ensure_ascii=False))
        return
    for name, columns in asdict(found).items():
        if name == "together" or not columns:
            continue
        if name == "totals":
            rows = [[row, str(number)] for row, number in columns.items()]
            names = ["", "count"]
        elif name == "records":  # many columns: a line for each
            names = ["", *next(iter(columns.values()))]
            rows = [[column, *map(str, counts.values())] for column, counts in columns.items()]
        else:
            names = ["", *columns]
            rows = [[row, *(str(columns[c][row]) for c in columns)] for row in next(iter(columns.values()))]
        table = _table(*names, title=name)
        for row in rows:
            table.add_row(*row)
        out.print(table)


@data_app.command("agreement")
def data_agreement(
    first: Annotated[Path, typer.Argument(help="Labels of one pass, JSON Lines. 第一遍标注。")] = Path(
        "data/second-pass/first.jsonl"
    ),
    second: Annotated[Path, typer.Argument(help="Labels of the other pass. 第二遍标注。")] = Path(
        "data/second-pass/second.jsonl"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    differences: Annotated[
        Path | None, typer.Option(help="Write each disagreement as CSV, to be decided. 写出分歧清单。")
    ] = None,
) -> None:
    """How far two independent passes agree, by label, with 95 % intervals. 两遍独立标注的一致程度。"""
    from duibiao.data.agreement import agreement, by_part, disagreements, pair_up

    taxonomy = load_taxonomy()
    pairs = pair_up(first, second, taxonomy)
    if differences:
        rows = (
            [one.id, label, int(a), int(b), one.note, two.note, one.text, "", ""]
            for (one, two), label, a, b in disagreements(pairs, taxonomy)
        )
        header = ["id", "label", "first", "second", "first_note", "second_note", "text", "verdict", "reason"]
        _write_csv(differences, header, rows)
    found = {part: agreement(chosen, taxonomy) for part, chosen in by_part(pairs).items()}
    if as_json:
        measured = {part: [asdict(row) for row in chosen] for part, chosen in found.items()}
        out.print_json(json.dumps(without_nan(measured), allow_nan=False))
        return
    for part, measures in found.items():
        table = _table("", "1st", "2nd", "positive agreement", "Krippendorff's alpha")
        for row in measures if part == "all" else measures[:3]:
            table.add_row(row.name, str(row.first), str(row.second), str(row.positive), str(row.alpha))
        out.print(f"{part}: {measures[0].texts} texts", highlight=False)
        out.print(table)


@data_app.command()
def freeze(folder: Annotated[Path, typer.Argument(help="Folder with test.jsonl, such as data/proposals.")]) -> None:
    """Write the digest of test.jsonl, after which the linter refuses changes. 冻结测试集。"""
    from duibiao.data.lint import freeze as run

    run(folder)


@data_app.command()
def split(
    source: Annotated[Path, typer.Argument(help="Labelled records, JSON Lines. 已标注记录。")],
    folder: Annotated[Path, typer.Argument(help="Folder of train.jsonl, validation.jsonl, test.jsonl. 输出目录。")],
    validation: Annotated[float, typer.Option(min=0.0, max=0.9)] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=0.9)] = 0.15,
    seed: int = 1,
) -> None:
    """Deal records into splits by project, stratified by language and label. 按项目分层划分。

    Records that are in the folder already stay in their split. A frozen test is not added to.
    """
    from duibiao.data.split import deal

    if validation + test >= 1:
        raise RecordError(f"--validation {validation} and --test {test} leave nothing to learn from")
    counts = deal(source, folder, {"train": 1 - validation - test, "validation": validation, "test": test}, seed)
    out.print(" · ".join(f"{name} {number}" for name, number in counts.items()), highlight=False)


@data_app.command()
def suspects(
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV for the reviewer. 供复核的表格。")],
    folder: FolderArgument = Path("data"),
    texts: TextsOption = None,
    count: Annotated[int, typer.Option(min=1, help="How many to write. 数量。")] = 300,
    seed: int = 0,
) -> None:
    """Write the labels that out-of-fold predictions doubt most. 找出最可疑的标签。"""
    need("train", "sklearn")
    import numpy as np

    from duibiao.data.lint import read_splits
    from duibiao.training.label_errors import FOLDS, out_of_fold
    from duibiao.training.label_errors import suspects as rank

    taxonomy = load_taxonomy()
    splits, broken = read_splits(folder, taxonomy, _elsewhere(folder, texts))
    if broken:
        raise RecordError(broken[0])
    proposals = [p for found in splits.values() for p in found if p.has_text]
    truth = np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals], dtype=bool)
    with bars() as progress:
        task = progress.add_task("folds", total=FOLDS)
        scores = out_of_fold(proposals, truth, seed, lambda: progress.advance(task))
    found = rank(proposals, scores, truth, taxonomy)[:count]
    header = ["id", "lang", "label", "labelled", "doubt", "labels", "text", "verdict", "reason"]
    rows = (
        [p.id, p.lang, s.label, int(s.labelled), f"{s.doubt:.3f}", " ".join(p.labels), p.text, "", ""]
        for s in found
        for p in (s.proposal,)
    )
    _write_csv(output, header, rows)
    out.print(f"{len(found)} of {truth.size:,} decisions on {len(proposals):,} texts → {output}", highlight=False)


def _is_labelled(source: Path, taxonomy: Taxonomy) -> bool:
    """Whether the first line that is not blank is a labelled record."""
    if source.suffix != ".jsonl":
        return False
    with source.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    return f'"{taxonomy.gate.id}":'.encode() in first.replace(b" ", b"")


def _tasks(source: Path, texts: Path | None, text: list[str], taxonomy: Taxonomy) -> list[Task]:
    """Labelled records, or else the rows of any table of applications, which nobody has labelled yet."""
    from duibiao.data.interchange import Task, printable, tasks_of
    from duibiao.data.records import digest, load_texts, scan_proposals, wanted_texts
    from duibiao.text import language_of

    from .tables import read_sheet

    if not text and _is_labelled(source, taxonomy):
        elsewhere = load_texts(texts, wanted_texts([source])) if texts else None
        return tasks_of(sound(scan_proposals(source, taxonomy, elsewhere)))
    sheet = read_sheet(source, text=text)
    found: dict[str, Task] = {}
    skipped = 0
    for row in sheet.rows:
        body = "" if row.fault else printable(sheet.text(row))
        if body.strip():
            key = f"{source.stem}-{digest(body)[:12]}"  # of the text: row numbers recur from file to file
            found[key] = Task(id=key, project=key, lang=language_of(body), text=body)
        elif not row.is_blank:
            skipped += 1
    if skipped:
        err.print(f"{skipped} rows without a readable text are left out", highlight=False)
    return list(found.values())


@data_app.command("export")
def export_tasks(
    source: Annotated[Path, typer.Argument(help="Labelled records, or any table of applications. 记录或申报表。")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write. 输出文件。")],
    form: Annotated[AnnotationFormat, typer.Option("--format", help="Annotation format. 标注格式。")],
    lang: LangOption,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Name of a text column, repeatable. 正文列名。")
    ] = None,
    texts: TextsOption = None,
) -> None:
    """Write texts for annotators: Label Studio, doccano, or a workbook for two coders. 导出给标注员。"""
    from duibiao.data.interchange import write_tasks

    taxonomy = load_taxonomy()
    tasks = _tasks(source, texts, text or [], taxonomy)
    if not tasks:
        raise RecordError(f"{source}: no text to write")
    write_tasks(output, tasks, form.value, taxonomy, lang.value)
    out.print(f"{len(tasks)} texts → {output}", highlight=False)


@data_app.command("import")
def import_tasks(
    source: Annotated[Path, typer.Argument(help="What came back from the annotators. 标注结果。")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write. 输出目录。")],
    form: Annotated[AnnotationFormat, typer.Option("--format", help="Annotation format. 标注格式。")],
    annotator: Annotated[str, typer.Option(help="Whose labels these are, where the file does not say. 标注员。")] = "",
) -> None:
    """Read what annotators did into records: first.jsonl, second.jsonl, … one file a pass. 读回标注结果。"""
    from duibiao.data.interchange import passes, read_tasks
    from duibiao.data.records import write_proposals

    tasks = read_tasks(source, form.value, load_taxonomy(), annotator)
    found = passes(tasks).values()
    if not found:
        raise RecordError(f"{source}: no text is labelled yet")
    output.mkdir(parents=True, exist_ok=True)
    for name, proposals in zip(
        ("first", "second", *(f"pass-{i}" for i in range(3, len(found) + 1))), found, strict=False
    ):
        path = output / f"{name}.jsonl"
        if path.exists():
            raise RecordError(f"{path} exists; choose another folder, so that no labels are lost")
        write_proposals(path, proposals)
        out.print(f"{len(proposals)} of {len(tasks)} texts → {path}", highlight=False)
