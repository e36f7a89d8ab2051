"""Unlabelled text for pretraining: readers, and the licence filter that decides what may shape a shipped model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duibiao.data.errors import ConfigError
from duibiao.data.records import open_lines

# Sources under non-commercial or no-derivatives terms. They may be read for analysis, but no weight that ships is
# trained on them.
NON_COMMERCIAL = (
    "openstax/",
    "xitu/gold-miner",
    "521xueweihan/HelloGitHub",
    "jiqizhixin/",
)


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of ``name`` (``zh``, ``en``, ``parallel``, ``dictionary``) that licences let us train on."""
    path = next((p for s in ("gz", "zst") if (p := folder / f"{name}.jsonl.{s}").exists()), None)
    if path is None:
        raise ConfigError(f"corpus: {folder} has no {name}.jsonl.gz or {name}.jsonl.zst")
    with open_lines(path) as lines:
        for line in lines:
            record = json.loads(line)
            if not record["src"].startswith(NON_COMMERCIAL):
                yield record
