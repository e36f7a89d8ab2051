"""The model card that ships in a bundle (Mitchell et al., 2019, "Model Cards for Model Reporting")."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from duibiao.data.taxonomy import Taxonomy
from duibiao.training.graph import Parts

_HEAD = """\
---
license: {license}
language: [zh, en]
library_name: onnxruntime
pipeline_tag: text-classification
tags: [multi-label, grants, policy]
---

# duibiao {version}

Reads a project proposal in Chinese or English and says whether it is about AI, and which of {domains} action domains
and {supports} support areas of {source} it serves.

## Use

{use} It gives `probabilities` `[n, {labels}]`, `tags` `[n, {labels}]`, `needs_review` `[n]`, `readable` `[n]`, `labels` and
`threshold_of_label` `[{labels}]`; feed `thresholds` (`float [{labels}]`) to decide by others. A text's scores do not depend on
what else is in the call. Meant to help a person sort applications; not meant to decide on them alone.

{precision}

## Training

Fine-tuned from `{backbone}` on {train} labelled proposals (SHA-256 of the records `{train_digest}…`); thresholds and review
margin were chosen on {validation} (`{validation_digest}…`). Settings: {config}.

{provenance}

## Thresholds

Gate {gate:.2f}, domains {domain:.2f}, support areas {support:.2f}; review margin {margin:.2f}.

## Figures

Printed by `duibiao evaluate data/proposals/test.jsonl` and, with the real texts at hand, `duibiao evaluate
data/real/test.jsonl --texts FOLDER`; README shows them as printed.

## Limits

The authored proposals were written for this project by language-model writers, not collected from a funder, and all labels come
from annotators of the same kind; see `data/README.md`. Probabilities are those of the trained network, not calibrated on
any funder's intake. Support areas with few real examples are weaker than domains. A proposal that dwells on a field which it does not
serve can still mislead the model.
"""

_TEXT_USE = """One file, text in, tags out, on stock onnxruntime: `model.onnx` takes `texts` (strings `[n]`). Text that is mostly
neither Chinese nor English is marked unreadable and gets no tags."""

_IDS_USE = """`model.onnx` takes `input_ids` (`int64 [length]`) of one text, from `tokenizer.json` without start and end; `n` is 1."""

_PRECISIONS = {
    "int8": "Matrices are multiplied in 8 bits.",
    "weights8": "Matrices and embeddings are stored in 8 bits and computed in 32.",
    "full": "Weights are 32-bit floats.",
}

_PROVENANCE = """The encoder was made by `duibiao pretrain`. What it was made from, no non-commercial text among it:
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); first embeddings from CC-CEDICT (CC BY-SA 4.0) and author keywords of
ChinaXiv (CC BY); parallel sentences of ChinaXiv (CC BY), LCTT/TranslateProject (Apache-2.0 repository; each article keeps its
terms), d2l-zh (Apache-2.0), python-docs-zh-cn (CC0), Dylan-Qin/Trade-Source (Apache-2.0 repository) and qhduan/cn-chat-arxiv
(arXiv abstracts with machine translations; no licence stated); word frequencies, besides, of Chinese laws and regulations, CCTV
transcripts, government work reports, arXiv abstracts, CLUE and CSL abstracts, technology weeklies, news and reports (no licence
stated for several), GSA/digitalgov.gov and 18F (public domain), Kubernetes enhancement proposals (Apache-2.0) and The Turing Way
(CC BY). The proposals are Apache-2.0; the real texts whose labels are in `data/real/train.jsonl` come from public repositories
named there."""

_OTHER_PROVENANCE = "What the backbone was made from, and its licence, is for its authors to say."


def model_card(about: dict[str, Any], parts: Parts, taxonomy: Taxonomy) -> str:
    """Markdown for ``MODEL_CARD.md``."""
    left_out = ("train", "validation", "test", "backbone")
    config = {k: v for k, v in about["config"].items() if k not in left_out}
    parity = about["parity"]
    measured = (
        f"Against the trained network in 32 bits, on {parity['texts']} validation texts: probabilities differ by "
        f"{parity['mean']:.4f} on average, {parity['largest']:.3f} at most; {parity['flips']:.2%} of decisions differ."
    )
    return _HEAD.format(
        license="apache-2.0" if parts.table else "other",
        version=version("duibiao"),
        domains=len(taxonomy.domains),
        supports=len(taxonomy.supports),
        labels=len(taxonomy.labels),
        source=taxonomy.source.en,
        use=_TEXT_USE if parts.table else _IDS_USE,
        precision=f"{_PRECISIONS[about['precision']]} {measured}",
        backbone=about["config"]["backbone"],
        train=about["train"]["proposals"],
        train_digest=about["train"]["sha256"][:16],
        validation=about["validation"]["proposals"],
        validation_digest=about["validation"]["sha256"][:16],
        config=", ".join(f"{k} {v}" for k, v in config.items()),
        provenance=_PROVENANCE if parts.table else _OTHER_PROVENANCE,
        gate=parts.thresholds[0],
        domain=parts.thresholds[1],
        support=parts.thresholds[-1],
        margin=parts.review_margin,
    )
