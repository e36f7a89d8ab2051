"""What commands share: the console, the language, common options, progress bars, checks before the start."""

from __future__ import annotations

import locale
import os
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duibiao.data.errors import MissingExtraError

out, err = Console(), Console(stderr=True)


class Lang(StrEnum):
    """Language of names and messages."""

    zh = "zh"
    en = "en"


def _default_language() -> Lang:
    name = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return Lang.zh if name.lower().startswith(("zh", "chinese")) else Lang.en


LangOption = Annotated[
    Lang, typer.Option("--lang", help="Language of names. 名称语言。", default_factory=_default_language)
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="Model bundle folder; default: the one that ships. 模型目录。")
]
TextsOption = Annotated[
    Path | None,
    typer.Option("--texts", help="File or folder with the texts of labels-only records. 仅存标签记录的原文。"),
]


def bars() -> Progress:
    """Progress bars on stderr."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err
    )


def need(extra: str, *modules: str) -> None:
    """Say which extra to install before a command starts, not in the middle of it."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(extra, module)
