"""Settings of a training run: a frozen dataclass, validated at construction, written beside the weights."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from duibiao.data.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """One fine-tuning run."""

    backbone: str = "training/encoder"
    """Folder of the bilingual encoder, or any model that ``AutoModel`` knows (Hub name or path)."""
    train: tuple[str, ...] = ("data/proposals/train.jsonl",)
    """JSON Lines files to learn from."""
    validation: tuple[str, ...] = ("data/proposals/validation.jsonl",)
    """JSON Lines files that choose the epoch and the thresholds."""
    test: tuple[str, ...] = ("data/proposals/test.jsonl",)
    """JSON Lines files that are only reported on."""
    texts: str | None = None
    """File or folder with the texts of records that are kept as labels only; such records are left out without it."""
    output: str = "runs/default"
    seed: int = 1
    epochs: int = 6
    batch_ids: int = 2048
    """Ids (pieces) a step sees, padding included."""
    window: int = 384
    """Ids of the longest window; longer texts are cut into equal windows and their positions averaged."""
    body_rate: float = 1e-4
    embedding_rate: float = 0.0
    """0 leaves the embedding layer (rows, positions, their normalisation) as pretrained, so that words not seen in
    training stay aligned with those that were."""
    head_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.08
    dropout: float = 0.1
    piece_dropout: float = 0.05
    """Share of pieces read as unknown in training, so that no tag hangs on a name (table backbone only)."""
    review_recall: float = 0.8
    """Share of validation texts with a wrong decision that the review margin must mark."""

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_ids", "window", "body_rate", "head_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"config: '{name}' must be greater than 0, not {getattr(self, name)!r}")
        for name in ("warmup", "dropout", "piece_dropout", "review_recall"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"config: '{name}' must be in [0, 1), not {getattr(self, name)!r}")
        for name in ("train", "validation"):
            if not getattr(self, name):
                raise ConfigError(f"config: '{name}' names no file")

    @classmethod
    def read(cls, path: Path, **changes: Any) -> TrainConfig:
        """Read a TOML file, with ``changes`` over it; raises :class:`ConfigError` naming the field."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        return cls.build(values | {k: v for k, v in changes.items() if v is not None}, str(path))

    @classmethod
    def build(cls, values: dict[str, Any], origin: str = "config") -> TrainConfig:
        """Check the types of ``values`` and construct."""
        known = {f.name: f for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f"{origin}: unknown field '{name}'; known: {', '.join(known)}")
            default = known[name].default
            if isinstance(default, tuple):
                if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
                    raise ConfigError(f"{origin}: '{name}' must be a list of strings")
                values[name] = tuple(value)
            elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
                values[name] = float(value)
            elif default is not None and type(value) is not type(default):
                raise ConfigError(f"{origin}: '{name}' must be {type(default).__name__}, not {value!r}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``config.json``."""
        return asdict(self)
