"""`duibiao train` from end to end: fine-tune, choose thresholds, export a bundle, report beside the baseline."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from duibiao.bundle import Bundle
from duibiao.data.records import Proposal
from duibiao.data.taxonomy import Taxonomy, load_taxonomy
from duibiao.tagger import Tagger
from duibiao.training.baseline import fit_baseline
from duibiao.training.card import model_card
from duibiao.training.config import TrainConfig
from duibiao.training.evaluate import Evaluation, evaluate, evaluate_scores, print_summary, verdict
from duibiao.training.export import (
    MAX_FLIPS,
    Parity,
    Precision,
    check,
    check_target,
    collect_parts,
    compare,
    write_bundle,
)
from duibiao.training.fit import Fit, fine_tune, load_split, restore, truth_of
from duibiao.training.graph import Parts
from duibiao.training.report import write_html, write_json
from duibiao.training.thresholds import choose_margin, choose_thresholds

BUNDLE = "bundle"
TRIED: tuple[Precision, ...] = ("int8", "weights8")
"""Precisions of a model that is to ship, fastest first."""


def data_digest(proposals: Sequence[Proposal]) -> str:
    """SHA-256 over records in order, so that a bundle says exactly what it learned from."""
    digest = hashlib.sha256()
    for proposal in proposals:
        digest.update(
            json.dumps(proposal.to_json(), ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()


def export_fit(fit: Fit, folder: Path, *, precision: Precision | None, console: Console) -> Parity:
    """Write the bundle in the fastest precision that decides as torch does, or in the one asked for.

    Thresholds and review margin are chosen on what that graph says of the validation texts.
    """
    check_target(folder)
    config, taxonomy = fit.config, fit.taxonomy
    train, validation = (load_split(config, paths, taxonomy) for paths in (config.train, config.validation))
    texts, truth = [p.text for p in validation], truth_of(validation, taxonomy)
    reference = fit.scores(texts)
    about: dict[str, Any] = {
        "config": {k: v for k, v in config.to_dict().items() if k not in ("output", "texts")},  # local paths
        "train": {"proposals": len(train), "sha256": data_digest(train)},
        "validation": {"proposals": len(validation), "sha256": data_digest(validation)},
    }
    for tried in (precision,) if precision else TRIED:
        parts = collect_parts(fit, tried)
        scores = _graph_scores(parts, fit, texts)
        thresholds = choose_thresholds(truth, scores, taxonomy)
        margin = choose_margin(truth, scores, thresholds, config.review_recall)
        parity = compare(reference, scores, thresholds)
        console.print(f"{tried}: {parity}", highlight=False)
        if parity.flips <= MAX_FLIPS:
            break
    check(parity, tried)
    console.print(
        f"thresholds: gate {thresholds[0]:.2f}, domains {thresholds[1]:.2f}, supports {thresholds[-1]:.2f}; "
        f"review margin {margin:.2f}"
    )
    about |= {"precision": tried, "parity": asdict(parity)}
    parts = replace(parts, thresholds=tuple(thresholds.tolist()), review_margin=margin)
    write_bundle(
        parts,
        folder,
        version=package_version("duibiao"),
        training=about,
        card=model_card(about, parts, taxonomy),
        tokenizer=fit.backbone.tokenizer_json,
    )
    return parity


def _graph_scores(parts: Parts, fit: Fit, texts: Sequence[str]) -> NDArray[np.float32]:
    """What the exported graph says of texts, before thresholds are known."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        write_bundle(parts, bundle, version="draft", training={}, card="", tokenizer=fit.backbone.tokenizer_json)
        return Tagger.load(bundle).output(texts).probabilities


def export_run(
    run: Path, folder: Path, *, console: Console, precision: Precision | None = None, texts: Path | None = None
) -> Parity:
    """Export the best model of a finished run."""
    fit = restore(run, load_taxonomy(), texts=str(texts) if texts else None)
    return export_fit(fit, folder, precision=precision, console=console)


def compare_with_baseline(bundle: Bundle, config: TrainConfig, taxonomy: Taxonomy) -> list[Evaluation]:
    """The bundle and TF-IDF on every test file, baseline fitted and tuned on the same splits."""
    train, validation = (load_split(config, paths, taxonomy) for paths in (config.train, config.validation))
    tfidf = fit_baseline([p.text for p in train], truth_of(train, taxonomy), config.seed)
    on_validation = tfidf.predict_proba([p.text for p in validation]).astype(np.float32)
    truth = truth_of(validation, taxonomy)
    thresholds = choose_thresholds(truth, on_validation, taxonomy)
    margin = choose_margin(truth, on_validation, thresholds, config.review_recall)
    tagger = Tagger.load(bundle.folder)
    found = []
    for path in config.test:
        proposals = load_split(config, [path], taxonomy)
        if not proposals:  # labels only, and the texts are not here
            continue
        scores = tfidf.predict_proba([p.text for p in proposals]).astype(np.float32)
        found += [
            evaluate(tagger, proposals, path),
            evaluate_scores("TF-IDF", scores, thresholds, margin, proposals, taxonomy, path),
        ]
    return found


def train(config: TrainConfig, console: Console) -> Path:
    """Run everything; return the bundle's folder. Interrupted, it goes on from the last finished epoch."""
    taxonomy = load_taxonomy()
    output = Path(config.output)
    fit = fine_tune(config, taxonomy, console)
    export_fit(fit, output / BUNDLE, precision=None, console=console)
    console.print(f"bundle: {output / BUNDLE}", highlight=False)
    evaluations = compare_with_baseline(Bundle.load(output / BUNDLE), config, taxonomy)
    remarks = [verdict(ours, theirs) for ours, theirs in zip(evaluations[::2], evaluations[1::2], strict=True)]
    print_summary(evaluations, console)
    for remark in remarks:
        console.print(remark, highlight=False)
    write_json(output / "report.json", evaluations, remarks)
    write_html(output / "report.html", evaluations, taxonomy, remarks)
    return output / BUNDLE
