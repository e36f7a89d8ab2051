"""Unlabelled text for pretraining: readers, and the licence filter that decides what may shape a shipped model."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from duibiao.data.errors import ConfigError, MissingExtraError

# Sources under non-commercial or no-derivatives terms. They may be read for analysis, but no weight that ships is
# trained on them.
NON_COMMERCIAL = (
    "openstax/",
    "xitu/gold-miner",
    "521xueweihan/HelloGitHub",
    "jiqizhixin/",
)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("pretrain", "zstandard") from None
        return io.TextIOWrapper(
            zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(path.open("rb")), "utf-8"
        )
    return gzip.open(path, "rt", encoding="utf-8")


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of ``name`` (``zh``, ``en``, ``parallel``, ``dictionary``) that licences let us train on."""
    path = next((p for s in ("gz", "zst") if (p := folder / f"{name}.jsonl.{s}").exists()), None)
    if path is None:
        raise ConfigError(f"corpus: {folder} has no {name}.jsonl.gz or {name}.jsonl.zst")
    with _open(path) as lines:
        for line in lines:
            record = json.loads(line)
            if not record["src"].startswith(NON_COMMERCIAL):
                yield record
