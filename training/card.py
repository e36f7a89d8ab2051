"""The model card that ships in a bundle (Mitchell et al., 2019, "Model Cards for Model Reporting")."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from duibiao.data.taxonomy import Taxonomy

_CARD = """\
---
license: apache-2.0
language: [zh, en]
library_name: onnxruntime
pipeline_tag: text-classification
tags: [multi-label, grants, policy, text-in]
---

# duibiao {version}

Reads a project proposal in Chinese or English and says whether it is about AI, and which of {domains} action domains
and {supports} support areas of {source} it serves. {precision}

## Use

One file, text in, tags out, on stock onnxruntime: `model.onnx` takes `texts` (strings `[n]`) and gives `probabilities`
`[n, {labels}]`, `tags` `[n, {labels}]`, `needs_review` `[n]`, `readable` `[n]`, `labels` and `threshold_of_label`
`[{labels}]`. Feed `thresholds` (`float [{labels}]`) to decide by others. A text's scores do not depend on what else is in
the call. Meant to help a person sort applications; not meant to decide on them alone. Text that is mostly neither Chinese
nor English is marked unreadable and gets no tags.

## Training

Encoder: `{backbone}`. Fine-tuned on {train} labelled proposals (SHA-256 of the records `{train_digest}`), thresholds and
review margin chosen on {validation} (`{validation_digest}`). Settings: {config}.

What the bilingual encoder was made from, no non-commercial text among it: sentence-transformers/all-MiniLM-L6-v2
(Apache-2.0); CC-CEDICT (CC BY-SA 4.0) and author keywords of ChinaXiv (CC BY) for first embeddings; parallel sentences of
ChinaXiv (CC BY), LCTT/TranslateProject (Apache-2.0 repository), d2l-zh (Apache-2.0), python-docs-zh-cn (CC0),
Dylan-Qin/Trade-Source (Apache-2.0) and qhduan/cn-chat-arxiv (arXiv abstracts with machine translations; no licence
stated); word frequencies of ChinaXiv, Chinese laws, CCTV transcripts, government work reports, GSA/digitalgov.gov and
18F (public domain), Kubernetes enhancement proposals (Apache-2.0), The Turing Way (CC BY) and the other sources named in
the pretraining recipe.

## Thresholds

Gate {gate:.2f}, domains {domain:.2f}, support areas {support:.2f}; review margin {margin:.2f}.

## Figures

Print them with `duibiao evaluate data/proposals/test.jsonl`; README shows them as printed.

## Limits

The authored proposals were written for this project, not collected from a funder; see `data/README.md`. Probabilities are
those of the trained network, not calibrated on a sample of any funder's intake. Support areas with few examples are weaker
than domains. A proposal that names a field at length without serving it can still mislead the model.
"""


def model_card(
    about: dict[str, Any], taxonomy: Taxonomy, thresholds: Sequence[float], margin: float, quantised: bool
) -> str:
    """Markdown for ``MODEL_CARD.md``."""
    config = {
        k: v
        for k, v in about["config"].items()
        if k not in ("train", "validation", "test", "texts", "output", "backbone")
    }
    return _CARD.format(
        version=version("duibiao"),
        domains=len(taxonomy.domains),
        supports=len(taxonomy.supports),
        labels=len(taxonomy.labels),
        source=taxonomy.source.en,
        precision="Weights are 8-bit integers." if quantised else "Weights are 32-bit floats.",
        backbone=about["config"]["backbone"],
        train=about["train"]["proposals"],
        train_digest=about["train"]["sha256"][:16],
        validation=about["validation"]["proposals"],
        validation_digest=about["validation"]["sha256"][:16],
        config=", ".join(f"{k} {v}" for k, v in config.items()),
        gate=thresholds[0],
        domain=thresholds[1],
        support=thresholds[-1],
        margin=margin,
    )
