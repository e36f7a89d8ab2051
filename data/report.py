"""The description of the data as one HTML file: no script, no network, plots as inline SVG."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from .describe import Description
from .taxonomy import Taxonomy


def write_html(path: Path, folder: Path, found: Description, taxonomy: Taxonomy) -> None:
    """A self-contained page: counts, labels by language, labels that occur together, lengths, styles."""
    source = (files("duibiao.data") / "report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    labels = (*taxonomy.domains, *taxonomy.supports)
    page = template.render(
        folder=folder,
        found=found,
        taxonomy=taxonomy,
        labels=labels,
        most=max((n for column in found.positives.values() for n in column.values()), default=1) or 1,
        longest=max((n for column in found.lengths.values() for n in column.values()), default=1) or 1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
