"""Runs a bundle's ONNX graph. The graph tokenises, scores and decides; nothing here repeats that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from duibiao.bundle import TOKENIZER, Bundle
from duibiao.data.errors import BundleError, MissingExtraError
from duibiao.text import clean

OUTPUTS = ("probabilities", "tags", "needs_review", "readable")


@dataclass(frozen=True)
class Output:
    """What the graph says of ``n`` texts and ``k`` labels."""

    probabilities: NDArray[np.float32]
    """``[n, k]``, in the label order of the bundle; the first column is the gate."""
    tags: NDArray[np.bool_]
    """``[n, k]``: the decision per label. No label is set where the gate is not."""
    needs_review: NDArray[np.bool_]
    """``[n]``: a probability lies near its threshold, or the decisions do not fit together."""
    readable: NDArray[np.bool_]
    """``[n]``: enough of the text is Chinese or English that the model knows."""

    @classmethod
    def join(cls, parts: Sequence[Output]) -> Output:
        """Concatenate along the texts."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in OUTPUTS))


class Runtime(Protocol):
    """Texts in, :class:`Output` out; safe to call from several threads at once."""

    def run(self, texts: Sequence[str]) -> Output:
        """Score ``texts``, at least one."""
        ...


def open_runtime(bundle: Bundle) -> Runtime:
    """The runtime for this bundle's kind of graph."""
    return TextRuntime(bundle) if bundle.manifest.kind == "text" else IdsRuntime(bundle)


class _Session:
    """An onnxruntime session with one thread a run: callers add workers, and a score never depends on them."""

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = ort.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no public base class for its errors
            raise BundleError(f"{bundle.model_path}: onnxruntime cannot load it: {error}") from error

    def __call__(self, name: str, value: NDArray[np.generic]) -> Output:
        return Output(*self.session.run(OUTPUTS, {name: value}))


class TextRuntime:
    """For graphs that take texts."""

    def __init__(self, bundle: Bundle) -> None:
        self._session = _Session(bundle)

    def run(self, texts: Sequence[str]) -> Output:
        """See :class:`Runtime`."""
        return self._session("texts", np.array([clean(t) for t in texts], dtype=object))


class IdsRuntime:
    """For graphs of other backbones, which take the ids of one text from the backbone's own ``tokenizer.json``."""

    def __init__(self, bundle: Bundle) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtraError("tokenizers", "tokenizers") from None
        self._session = _Session(bundle)
        self._tokenizer = Tokenizer.from_file(str(bundle.folder / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def run(self, texts: Sequence[str]) -> Output:
        """See :class:`Runtime`."""
        rows = [self._tokenizer.encode(clean(t), add_special_tokens=False).ids for t in texts]
        return Output.join([self._session("input_ids", np.array(row, dtype=np.int64)) for row in rows])
