"""duibiao (对标): tags Chinese and English project proposals by China's State Council "AI+" Opinions.

>>> from duibiao import Tagger
>>> Tagger.load().tag("用视觉模型检测钢板表面缺陷").domains
('industrial_development',)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from duibiao.data.errors import (
    BundleError,
    ConfigError,
    DuibiaoError,
    MissingExtraError,
    ParityError,
    RecordError,
    TableError,
    TaxonomyError,
)

if TYPE_CHECKING:
    from duibiao.data.taxonomy import Taxonomy, load_taxonomy
    from duibiao.tagger import Scores, Tagger, Tags

__version__ = "0.1.0"

# Loaded on first use, so that `import duibiao` costs next to nothing.
_LAZY = {
    "Scores": "duibiao.tagger",
    "Tagger": "duibiao.tagger",
    "Tags": "duibiao.tagger",
    "Taxonomy": "duibiao.data.taxonomy",
    "load_taxonomy": "duibiao.data.taxonomy",
}

__all__ = [
    "BundleError",
    "ConfigError",
    "DuibiaoError",
    "MissingExtraError",
    "ParityError",
    "RecordError",
    "Scores",
    "TableError",
    "Tagger",
    "Tags",
    "Taxonomy",
    "TaxonomyError",
    "__version__",
    "load_taxonomy",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'duibiao' has no attribute {name!r}")
