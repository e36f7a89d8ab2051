"""Export: a fine-tuned classifier → a model bundle, checked against torch on real texts."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from duibiao.bundle import CARD, MODEL, TAXONOMY, TOKENIZER, Bundle
from duibiao.data.errors import ParityError
from duibiao.network import TableEncoder, quantise_rows
from duibiao.tagger import Tagger
from duibiao.training.fit import Fit
from duibiao.training.graph import OPSET, Embedding, Parts, build_graph


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


def export_core(fit: Fit, quantise: bool) -> onnx.GraphProto:
    """The encoder as an ONNX graph over one window, its matrices 8-bit if ``quantise``."""
    module = _Window(fit.backbone.module).eval()
    length = 12
    example = (
        torch.randn(1, length, fit.backbone.width) if fit.backbone.table else torch.ones(1, length, dtype=torch.long)
    )
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
    return (_quantise(model) if quantise else model).graph


def _embedding(weight: Tensor, quantise: bool) -> Embedding:
    if not quantise:
        return Embedding.exact(weight.numpy())
    rows, scale = quantise_rows(weight)
    return Embedding(rows.numpy(), scale.numpy())


def _quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of matrix products to 8 bits; activations are scaled per window at run time, each window on its own."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "full.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return onnx.load(target)


@dataclass(frozen=True)
class Parity:
    """How far the exported graph is from torch on the same texts."""

    texts: int
    largest: float
    """Largest difference of a probability."""
    mean: float
    flips: float
    """Share of decisions that differ."""


def compare(reference: NDArray[np.float32], tagger: Tagger, texts: Sequence[str]) -> Parity:
    """Compare torch's probabilities ``[n, k]`` with what the bundle says of the same texts."""
    output = tagger.output(texts)
    thresholds = np.array(tagger.bundle.manifest.thresholds, dtype=np.float32)
    difference = np.abs(reference - output.probabilities)
    flips = (reference >= thresholds) != (output.probabilities >= thresholds)
    return Parity(len(texts), float(difference.max()), float(difference.mean()), float(flips.mean()))


def export(
    fit: Fit,
    folder: Path,
    *,
    thresholds: Sequence[float],
    review_margin: float,
    version: str,
    taxonomy_json: str,
    texts: Sequence[str],
    training: dict[str, Any],
    quantise: bool = True,
    card: str = "",
    tolerance: float | None = None,
) -> Parity:
    """Write a bundle to ``folder`` and compare it with torch on ``texts``.

    Raises :class:`~duibiao.ParityError` if a probability is off by more than ``tolerance`` (default 1e-4 in full
    precision, 0.25 quantised, where single close calls may move) or, quantised, the mean by more than 0.01.
    """
    fit.model.eval().cpu()
    backbone = fit.backbone
    weight = backbone.module.embedding.weight.detach() if isinstance(backbone.module, TableEncoder) else None
    parts = Parts(
        core=export_core(fit, quantise),
        head_weight=fit.model.head.weight.detach().numpy(),
        head_bias=fit.model.head.bias.detach().numpy(),
        prefix=backbone.prefix,
        suffix=backbone.suffix,
        unknown=backbone.unknown,
        window=backbone.window,
        labels=fit.taxonomy.label_ids,
        thresholds=tuple(float(t) for t in thresholds),
        review_margin=review_margin,
        table=backbone.table,
        embedding=None if weight is None else _embedding(weight, quantise),
    )
    metadata = {
        "duibiao.labels": json.dumps(parts.labels),
        "duibiao.thresholds": json.dumps(parts.thresholds),
        "duibiao.model_version": version,
        "duibiao.taxonomy_version": fit.taxonomy.version,
        "duibiao.license": "Apache-2.0",
    }
    with tempfile.TemporaryDirectory(dir=folder.parent if folder.parent.exists() else None) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        onnx.save(build_graph(parts, metadata), draft / MODEL)
        (draft / TAXONOMY).write_text(taxonomy_json, encoding="utf-8")
        if backbone.tokenizer_json:
            (draft / TOKENIZER).write_text(backbone.tokenizer_json, encoding="utf-8")
        if card:
            (draft / CARD).write_text(card, encoding="utf-8")
        Bundle.seal(
            draft,
            model_version=version,
            taxonomy_version=fit.taxonomy.version,
            kind="text" if backbone.table else "ids",
            labels=parts.labels,
            thresholds=parts.thresholds,
            review_margin=review_margin,
            training=training,
        )
        parity = compare(fit.scores(texts), Tagger.load(draft), texts)
        limit = tolerance if tolerance is not None else (0.25 if quantise else 1e-4)
        if parity.largest > limit or parity.mean > max(0.01, limit if not quantise else 0):
            raise ParityError(f"exported model differs from torch: {parity}")
        if folder.exists():
            shutil.rmtree(folder)
        shutil.move(draft, folder)
    return parity
