"""The exported graph, built by hand around the encoder that torch exports: one file, text in, tags out.

::

    texts [n] ─ Loop, one text a turn: exact lengths, no padding, so a text's scores cannot depend on its neighbours
                 Tokenizer → LabelEncoder → ids
                 Loop, one window a turn: start + ids + end → pair rows → vectors → encoder → sum over positions
                 mean over all positions → linear → sigmoid
    probabilities [n, k] → thresholds → tags [n, k], needs_review [n], readable [n]

Only operators of stock onnxruntime are used (``com.microsoft.Tokenizer``, ``ai.onnx.ml.LabelEncoder``, ONNX opset 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from duibiao.text import PAD, PAIR_BASE, PATTERN, UNKNOWN_ID, TextTable

OPSET, IR = 18, 9
_LAST = np.iinfo(np.int64).max


class Nodes:
    """Nodes and constants of one graph in the making."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def name(self) -> str:
        return f"{self.prefix}{len(self.nodes)}_{len(self.constants)}"

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> str:
        array = np.array(value, dtype=dtype)
        self.constants.append(numpy_helper.from_array(array, name or f"{self.name()}_c"))
        return str(self.constants[-1].name)

    def op(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        output = output or f"{self.name()}_{kind}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], domain=domain, name=f"{self.name()}_{kind}", **attributes)
        )
        return output

    def integer(self, value: int | Sequence[int]) -> str:
        return self.constant(value, np.int64)

    def slice(self, data: str, start: str, end: str, axis: int = 0) -> str:
        return self.op("Slice", data, start, end, self.integer([axis]))

    def splice(self, core: onnx.GraphProto, inputs: dict[str, str], prefix: str) -> list[str]:
        """Insert another graph's nodes and constants; return the names of its outputs here."""
        rename = {**inputs, "": ""}
        for tensor in core.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = rename[tensor.name] = f"{prefix}{tensor.name}"
            self.constants.append(copy)
        for node in core.node:
            copy_node = onnx.NodeProto()
            copy_node.CopyFrom(node)
            del copy_node.metadata_props[:]
            copy_node.doc_string = ""
            copy_node.name = f"{prefix}{node.name}"
            copy_node.input[:] = [rename.get(i, f"{prefix}{i}") for i in node.input]
            copy_node.output[:] = [f"{prefix}{o}" if o else "" for o in node.output]
            self.nodes.append(copy_node)
        return [rename.get(o.name, f"{prefix}{o.name}") for o in core.output]

    def loop(self, count: str, body: Nodes, state: Sequence[str], outputs: Sequence[tuple[str, int]]) -> list[str]:
        """Run ``body`` ``count`` times; stack ``outputs`` (name in the body, element type) along a new first axis."""
        body.op("Identity", f"{body.prefix}go", output=f"{body.prefix}on")
        value = helper.make_tensor_value_info
        inputs = [value(f"{body.prefix}turn", TensorProto.INT64, []), value(f"{body.prefix}go", TensorProto.BOOL, [])]
        results = [value(f"{body.prefix}on", TensorProto.BOOL, []), *(value(n, kind, None) for n, kind in outputs)]
        graph = helper.make_graph(body.nodes, f"{body.prefix}body", inputs, results, initializer=body.constants)
        names = [f"{self.name()}_loop{i}" for i in range(len(outputs))]
        self.nodes.append(
            helper.make_node(
                "Loop", [count, self.constant(True), *state], names, name=f"{self.name()}_Loop", body=graph
            )
        )
        return names


@dataclass(frozen=True)
class Embedding:
    """Embedding rows, ``value = row * scale``: 8-bit integers with one scale a row, or floats with scale 1."""

    rows: NDArray[np.int8] | NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def exact(cls, weight: NDArray[np.float32]) -> Embedding:
        """Full precision."""
        return cls(weight, np.ones((len(weight), 1), np.float32))


@dataclass(frozen=True)
class Parts:
    """What a graph is made of."""

    core: onnx.GraphProto
    """One window → sum over its positions ``[1, width]``. Its input is vectors ``[1, length, width]`` where there is a
    text table, else ids ``[1, length]``."""
    head_weight: NDArray[np.float32]
    head_bias: NDArray[np.float32]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    unknown: int
    first_word: int
    """Ids below it are no words; see ``TextTable.first_word``. 0 where a tokenizer does not tell."""
    window: int
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    review_margin: float
    table: TextTable | None = None
    embedding: Embedding | None = None


def _tokenise(g: Nodes, table: TextTable, text: str) -> str:
    """One text ``[1]`` → ids ``[pieces]``."""
    cut = g.op("Tokenizer", text, domain="com.microsoft", mark=0, mincharnum=1, pad_value=PAD, tokenexp=PATTERN)
    keys, values = zip(*table.ids.items(), strict=True)
    ids = g.op(
        "LabelEncoder",
        cut,
        domain="ai.onnx.ml",
        keys_strings=list(keys),
        values_int64s=list(values),
        default_int64=UNKNOWN_ID,
    )
    return g.op("Reshape", ids, g.integer([-1]))


def _vectors(g: Nodes, table: TextTable, embedding: Embedding, ids: str) -> str:
    """Ids ``[length]`` → vectors ``[1, length, width]``; the same arithmetic as ``network.combine``."""
    zero, last, one = g.integer([0]), g.integer([_LAST]), g.integer([1])
    keys = g.op("Mul", g.slice(ids, zero, g.integer([-1])), g.integer(PAIR_BASE))
    keys = g.op("Add", keys, g.slice(ids, one, last))
    pairs = table.pair_ids or {-1: 0}
    between = g.op(
        "LabelEncoder",
        keys,
        domain="ai.onnx.ml",
        keys_int64s=list(pairs),
        values_int64s=list(pairs.values()),
        default_int64=0,
    )
    rows = g.constant(embedding.rows, name=f"{g.prefix}embedding")
    scale = g.constant(embedding.scale, name=f"{g.prefix}embedding_scale")

    def look_up(index: str) -> str:
        vectors = g.op("Cast", g.op("Gather", rows, index), to=TensorProto.FLOAT)
        return g.op("Mul", vectors, g.op("Gather", scale, index))

    def pair_side(index: str) -> tuple[str, str]:
        has = g.op("Cast", g.op("Greater", index, g.integer(0)), to=TensorProto.FLOAT)
        has = g.op("Unsqueeze", has, g.integer([1]))
        return g.op("Mul", look_up(index), has), has

    left, has_left = pair_side(g.op("Concat", zero, between, axis=0))
    right, has_right = pair_side(g.op("Concat", between, zero, axis=0))
    count = g.op("Add", has_left, has_right)
    mean = g.op("Div", g.op("Add", left, right), g.op("Max", count, g.constant(1.0, np.float32)))
    chosen = g.op("Where", g.op("Greater", count, g.constant(0.0, np.float32)), mean, look_up(ids))
    return g.op("Unsqueeze", chosen, zero)


def _window(parts: Parts, prefix: str, ids: str, length: str, count: str) -> tuple[Nodes, str]:
    """Body of the inner loop: window number ``turn`` of the text → sum over its positions ``[1, width]``."""
    g = Nodes(prefix)
    turn = f"{prefix}turn"
    # text.window_bounds, in integers
    start = g.op("Div", g.op("Mul", turn, length), count)
    end = g.op("Div", g.op("Mul", g.op("Add", turn, g.integer(1)), length), count)
    shape = g.integer([1])
    middle = g.slice(ids, g.op("Reshape", start, shape), g.op("Reshape", end, shape))
    whole = g.op(
        "Concat",
        *([g.integer(parts.prefix)] if parts.prefix else []),
        middle,
        *([g.integer(parts.suffix)] if parts.suffix else []),
        axis=0,
    )
    if parts.table is not None and parts.embedding is not None:
        value = _vectors(g, parts.table, parts.embedding, whole)
    else:
        value = g.op("Unsqueeze", whole, g.integer([0]))
    (total,) = g.splice(parts.core, {parts.core.input[0].name: value}, f"{prefix}core_")
    return g, total


def _document(g: Nodes, parts: Parts, ids: str) -> tuple[str, str]:
    """Ids of one text ``[length]`` → probabilities ``[k]`` and whether the text is readable (scalar)."""
    length = g.op("Size", ids)
    window, one = g.integer(parts.window), g.integer(1)
    count = g.op("Max", g.op("Div", g.op("Add", length, g.integer(parts.window - 1)), window), one)
    body, total = _window(parts, f"{g.prefix}w", ids, length, count)
    (sums,) = g.loop(count, body, [], [(total, TensorProto.FLOAT)])
    positions = g.op("Add", length, g.op("Mul", count, g.integer(len(parts.prefix) + len(parts.suffix))))
    mean = g.op(
        "Div", g.op("ReduceSum", sums, g.integer([0]), keepdims=0), g.op("Cast", positions, to=TensorProto.FLOAT)
    )
    weight = g.constant(np.ascontiguousarray(parts.head_weight.T), np.float32)
    logits = g.op("Add", g.op("MatMul", mean, weight), g.constant(parts.head_bias, np.float32))
    probabilities = g.op("Reshape", g.op("Sigmoid", logits), g.integer([-1]))
    return probabilities, _readable(g, parts, ids)


def _readable(g: Nodes, parts: Parts, ids: str) -> str:
    """Whether at least half of what is a word or an unknown piece is a word that the table knows, and one is."""

    def count(truth: str) -> str:
        return g.op("ReduceSum", g.op("Cast", truth, to=TensorProto.INT64), keepdims=0)

    unknown = g.op("Equal", ids, g.integer(parts.unknown))
    word = g.op("And", g.op("GreaterOrEqual", ids, g.integer(parts.first_word)), g.op("Not", unknown))
    words, strange = count(word), count(unknown)
    return g.op("And", g.op("Greater", words, g.integer(0)), g.op("GreaterOrEqual", words, strange))


def _decide(g: Nodes, parts: Parts, probabilities: str, readable: str) -> None:
    """``thresholds.decide`` and ``thresholds.review_flags`` as nodes; unreadable texts get no tag and are reviewed."""
    axis, zero, one, last = g.integer([1]), g.integer([0]), g.integer([1]), g.integer([_LAST])
    gap = g.op("Sub", probabilities, "thresholds")
    margin = g.constant(parts.review_margin, np.float32)
    over = g.op("GreaterOrEqual", gap, g.constant(0.0, np.float32))
    near = g.op("Less", g.op("Abs", gap), margin)

    def gate(x: str) -> str:  # [n, k] → [n]
        return g.op("Squeeze", g.slice(x, zero, one, 1), axis)

    def any_label(x: str) -> str:
        number = g.op("Cast", g.slice(x, one, last, 1), to=TensorProto.INT32)
        return g.op("Greater", g.op("ReduceMax", number, g.integer([1]), keepdims=0), g.constant(0, np.int32))

    is_open = g.op("And", gate(over), readable)
    g.op("And", over, g.op("Unsqueeze", is_open, axis), output="tags")
    doubtful = g.op("Or", any_label(near), g.op("Not", any_label(over)))
    contradiction = any_label(g.op("GreaterOrEqual", gap, margin))
    shut = g.op("Not", gate(over))
    flagged = g.op("Or", g.op("And", gate(over), doubtful), g.op("And", shut, contradiction))
    flagged = g.op("Or", g.op("Or", gate(near), flagged), g.op("Not", readable))
    g.op("Identity", flagged, output="needs_review")
    g.op("Identity", probabilities, output="probabilities")
    g.op("Identity", readable, output="readable")
    g.op("Identity", g.constant(np.array(parts.labels, dtype=object)), output="labels")
    g.op("Identity", "thresholds", output="threshold_of_label")


def build_graph(parts: Parts, metadata: dict[str, str]) -> onnx.ModelProto:
    """Assemble the model. ``thresholds`` may be overridden at run time by feeding an input of that name."""
    g = Nodes("")
    if parts.table is not None:
        body = Nodes("t")
        text = body.op("Reshape", body.op("Gather", "texts", "tturn"), body.integer([1]))
        ids = _tokenise(body, parts.table, text)
        probabilities, readable = _document(body, parts, ids)
        count = g.op("Size", "texts")
        probabilities, readable = g.loop(
            count, body, [], [(probabilities, TensorProto.FLOAT), (readable, TensorProto.BOOL)]
        )
        source = helper.make_tensor_value_info("texts", TensorProto.STRING, ["n"])
    else:
        probabilities, readable = _document(g, parts, "input_ids")
        probabilities, readable = (g.op("Unsqueeze", x, g.integer([0])) for x in (probabilities, readable))
        source = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["length"])
    k = len(parts.labels)
    n: str | int = "n" if parts.table is not None else 1
    probabilities = g.op("Reshape", probabilities, g.integer([-1, k]))  # no texts: the loop does not know k
    _decide(g, parts, probabilities, readable)
    g.constants.append(numpy_helper.from_array(np.array(parts.thresholds, np.float32), "thresholds"))
    graph = helper.make_graph(
        g.nodes,
        "duibiao",
        [source, helper.make_tensor_value_info("thresholds", TensorProto.FLOAT, [k])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [n, k]),
            helper.make_tensor_value_info("tags", TensorProto.BOOL, [n, k]),
            helper.make_tensor_value_info("needs_review", TensorProto.BOOL, [n]),
            helper.make_tensor_value_info("readable", TensorProto.BOOL, [n]),
            helper.make_tensor_value_info("labels", TensorProto.STRING, [k]),
            helper.make_tensor_value_info("threshold_of_label", TensorProto.FLOAT, [k]),
        ],
        initializer=g.constants,
    )
    opsets = [
        helper.make_opsetid("", OPSET),
        helper.make_opsetid("ai.onnx.ml", 3),
        helper.make_opsetid("com.microsoft", 1),
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="duibiao")
    helper.set_model_props(model, metadata)
    return model
