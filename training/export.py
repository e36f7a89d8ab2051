"""Export: a fine-tuned classifier → a model bundle, checked against torch on real texts."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from duibiao.bundle import CARD, MANIFEST, MODEL, TAXONOMY, TOKENIZER, Bundle
from duibiao.data.errors import ConfigError, ParityError
from duibiao.network import TableEncoder, quantise_rows
from duibiao.training.fit import Fit
from duibiao.training.graph import OPSET, Embedding, Parts, build_graph

Precision = Literal["int8", "weights8", "full"]
"""How the encoder's matrices are kept: ``int8`` multiplies in 8 bits, activations scaled per window at run time;
``weights8`` stores 8 bits and computes in 32 (onnxruntime unpacks them once, at load); ``full`` stores 32. Embedding
rows are 8 bits but in ``full``."""

MAX_FLIPS = 0.005
"""Largest share of decisions that a quantised graph may decide otherwise than torch."""


class _Window(nn.Module):
    """One window → sum of hidden states over its positions, ``[1, width]``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, value: Tensor) -> Tensor:
        mask = torch.ones(value.shape[:2], dtype=torch.long)
        if isinstance(self.encoder, TableEncoder):
            hidden: Tensor = self.encoder.body(inputs_embeds=value, attention_mask=mask).last_hidden_state
        else:
            hidden = self.encoder(value, mask)
        return hidden.sum(1)


def export_core(fit: Fit, precision: Precision) -> onnx.GraphProto:
    """The encoder as an ONNX graph over one window."""
    module = _Window(fit.backbone.module).eval()
    length = 12
    table = fit.backbone.table
    example = torch.randn(1, length, fit.backbone.width) if table else torch.ones(1, length, dtype=torch.long)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core.onnx"
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=["value"],
            output_names=["total"],
            opset_version=OPSET,
            dynamic_axes={"value": {1: "length"}},
            dynamo=False,
        )
        model = onnx.load(path)
    if precision == "int8":
        model = _multiply_in_8_bits(model)
    elif precision == "weights8":
        model = _store_in_8_bits(model)
    return model.graph


def _multiply_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "full.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        # 7-bit weights: with 8, processors without VNNI overflow and would score otherwise than those with it
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return onnx.load(target)


def _store_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep each matrix as 8-bit integers and one scale a column; their product is folded when a runtime loads it."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    unpacking = []
    for name in dict.fromkeys(node.input[1] for node in graph.node if node.op_type == "MatMul"):
        if name not in constants or len(constants[name].dims) != 2:
            continue
        weight = numpy_helper.to_array(constants[name])
        scale = np.maximum(np.abs(weight).max(axis=0, keepdims=True), 1e-8) / 127
        packed = numpy_helper.from_array(np.round(weight / scale).astype(np.int8), f"{name}_int8")
        graph.initializer.remove(constants[name])
        graph.initializer.extend([packed, numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale")])
        unpacking += [
            helper.make_node("Cast", [packed.name], [f"{name}_float"], to=TensorProto.FLOAT, name=f"{name}_cast"),
            helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [name], name=f"{name}_mul"),
        ]
    nodes = [*unpacking, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _embedding(weight: Tensor, precision: Precision) -> Embedding:
    if precision == "full":
        return Embedding.exact(weight.numpy())
    rows, scale = quantise_rows(weight)
    return Embedding(rows.numpy(), scale.numpy())


def collect_parts(fit: Fit, precision: Precision) -> Parts:
    """Everything a graph is made of, but thresholds, which are chosen on what the graph scores."""
    fit.model.eval().cpu()
    backbone = fit.backbone
    encoder = backbone.module
    k = len(fit.taxonomy.labels)
    return Parts(
        core=export_core(fit, precision),
        head_weight=fit.model.head.weight.detach().numpy(),
        head_bias=fit.model.head.bias.detach().numpy(),
        prefix=backbone.prefix,
        suffix=backbone.suffix,
        unknown=backbone.unknown,
        first_word=backbone.table.first_word if backbone.table else 0,
        window=backbone.window,
        labels=fit.taxonomy.label_ids,
        thresholds=(0.5,) * k,
        review_margin=0.0,
        table=backbone.table,
        embedding=_embedding(encoder.embedding.weight.detach(), precision)
        if isinstance(encoder, TableEncoder)
        else None,
    )


@dataclass(frozen=True)
class Parity:
    """How far the exported graph is from torch on the same texts."""

    texts: int
    largest: float
    """Largest difference of a probability."""
    mean: float
    flips: float
    """Share of decisions that differ."""


def compare(
    reference: NDArray[np.float32], scores: NDArray[np.float32], thresholds: Sequence[float] | NDArray[np.float32]
) -> Parity:
    """Compare torch's probabilities ``[n, k]`` with the graph's, and what either decides."""
    limits = np.asarray(thresholds, dtype=np.float32)
    difference = np.abs(reference - scores)
    flips = (reference >= limits) != (scores >= limits)
    return Parity(len(scores), float(difference.max()), float(difference.mean()), float(flips.mean()))


def check(parity: Parity, precision: Precision) -> None:
    """Raise :class:`~duibiao.ParityError` where a graph is too far from torch for its precision."""
    if parity.largest > 1e-4 if precision == "full" else parity.flips > MAX_FLIPS:
        raise ParityError(f"exported model ({precision}) differs from torch: {parity}")


def check_target(folder: Path) -> None:
    """Refuse to write a bundle over anything that is not one."""
    known = {MANIFEST, MODEL, TAXONOMY, CARD, TOKENIZER}
    if folder.exists() and not (folder.is_dir() and {p.name for p in folder.iterdir()} <= known):
        raise ConfigError(f"{folder} holds something else than a model bundle; name another folder")


def write_bundle(
    parts: Parts, folder: Path, *, version: str, training: dict[str, Any], card: str, tokenizer: str | None
) -> Bundle:
    """Write a sealed bundle to ``folder``, in place of one that is there."""
    check_target(folder)
    taxonomy_json = (files("duibiao.data") / TAXONOMY).read_text(encoding="utf-8")
    taxonomy_version = json.loads(taxonomy_json)["version"]
    metadata = {
        "duibiao.labels": json.dumps(parts.labels),
        "duibiao.thresholds": json.dumps(parts.thresholds),
        "duibiao.model_version": version,
        "duibiao.taxonomy_version": taxonomy_version,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        onnx.save(build_graph(parts, metadata), draft / MODEL)
        (draft / TAXONOMY).write_text(taxonomy_json, encoding="utf-8", newline="\n")
        (draft / CARD).write_text(card, encoding="utf-8", newline="\n")
        if tokenizer:
            (draft / TOKENIZER).write_text(tokenizer, encoding="utf-8", newline="\n")
        Bundle.seal(
            draft,
            model_version=version,
            taxonomy_version=taxonomy_version,
            kind="text" if parts.table else "ids",
            labels=parts.labels,
            thresholds=parts.thresholds,
            review_margin=parts.review_margin,
            training=training,
        )
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        shutil.move(draft, folder)
    return Bundle.load(folder)
