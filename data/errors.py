"""Errors that duibiao raises on purpose; the lowest layer, imports nothing.

::

    DuibiaoError                 anything below; the command line prints its message and exits with 2
    ├── TaxonomyError            the label-set file is broken; names the field
    ├── RecordError              a proposal record is broken; names file, line and field
    ├── ConfigError              a training configuration is broken; names the field
    ├── BundleError              a model bundle is missing, truncated, changed or of another version
    ├── TableError               a spreadsheet cannot be read or written; names file, sheet, row or column
    ├── ParityError              an exported model does not compute what the trained one does
    └── MissingExtraError        an optional part is not installed; names the command that installs it
"""

from __future__ import annotations


class DuibiaoError(Exception):
    """Base of every error raised on purpose; its message is one line for a person."""


class TaxonomyError(DuibiaoError):
    """The label-set file is broken; the message names the field."""


class RecordError(DuibiaoError):
    """A proposal record is broken; the message names file, line and field."""


class ConfigError(DuibiaoError):
    """A training configuration is broken; the message names the field."""


class BundleError(DuibiaoError):
    """A model bundle is missing, truncated, changed or made for another version."""


class TableError(DuibiaoError):
    """A spreadsheet cannot be read or written; the message names file, sheet, row or column."""


class ParityError(DuibiaoError):
    """An exported model does not compute what the trained one does."""


class MissingExtraError(DuibiaoError):
    """An optional part of duibiao is not installed; the message names the command that installs it."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(f"{missing} is not installed; run: pip install 'duibiao[{extra}]'")
