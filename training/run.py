"""`duibiao train` from end to end: fine-tune, choose thresholds, export a bundle, report beside the baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version as package_version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from duibiao.bundle import Bundle
from duibiao.data.records import Proposal
from duibiao.data.taxonomy import Taxonomy, load_taxonomy
from duibiao.tagger import Tagger
from duibiao.training.baseline import fit_baseline
from duibiao.training.card import model_card
from duibiao.training.config import TrainConfig
from duibiao.training.evaluate import Evaluation, evaluate, evaluate_scores, print_summary, verdict
from duibiao.training.export import Parity, export
from duibiao.training.fit import Fit, fine_tune, load_split, restore, truth_of
from duibiao.training.report import write_html, write_json
from duibiao.training.thresholds import choose_margin, choose_thresholds

BUNDLE = "bundle"


def data_digest(proposals: Sequence[Proposal]) -> str:
    """SHA-256 over records in order, so that a bundle says exactly what it learned from."""
    digest = hashlib.sha256()
    for proposal in proposals:
        digest.update(
            json.dumps(proposal.to_json(), ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()


def export_fit(fit: Fit, folder: Path, *, quantise: bool, console: Console) -> Parity:
    """Choose thresholds and margin on validation, write the bundle, compare it with torch."""
    config, taxonomy = fit.config, fit.taxonomy
    train, validation = (load_split(config, paths, taxonomy) for paths in (config.train, config.validation))
    truth, scores = truth_of(validation, taxonomy), fit.scores([p.text for p in validation])
    thresholds = choose_thresholds(truth, scores, taxonomy)
    margin = choose_margin(truth, scores, thresholds, config.review_recall)
    console.print(
        f"thresholds: gate {thresholds[0]:.2f}, domains {thresholds[1]:.2f}, supports {thresholds[-1]:.2f}; "
        f"review margin {margin:.2f}"
    )
    about: dict[str, Any] = {
        "config": config.to_dict(),
        "train": {"proposals": len(train), "sha256": data_digest(train)},
        "validation": {"proposals": len(validation), "sha256": data_digest(validation)},
    }
    return export(
        fit,
        folder,
        thresholds=thresholds.tolist(),
        review_margin=margin,
        version=package_version("duibiao"),
        taxonomy_json=(files("duibiao.data") / "taxonomy.json").read_text(encoding="utf-8"),
        texts=[p.text for p in validation][:200],
        training=about,
        quantise=quantise,
        card=model_card(about, taxonomy, thresholds.tolist(), margin, quantise),
    )


def export_run(run: Path, folder: Path, *, quantise: bool, console: Console, texts: Path | None = None) -> Parity:
    """Export the best model of a finished run."""
    fit = restore(run, load_taxonomy(), texts=str(texts) if texts else None)
    return export_fit(fit, folder, quantise=quantise, console=console)


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
    parity = export_fit(fit, output / BUNDLE, quantise=True, console=console)
    console.print(f"bundle: {output / BUNDLE}, {parity}", highlight=False)
    evaluations = compare_with_baseline(Bundle.load(output / BUNDLE), config, taxonomy)
    remarks = [verdict(ours, theirs) for ours, theirs in zip(evaluations[::2], evaluations[1::2], strict=True)]
    print_summary(evaluations, console)
    for remark in remarks:
        console.print(remark, highlight=False)
    write_json(output / "report.json", evaluations, remarks)
    write_html(output / "report.html", evaluations, taxonomy, remarks)
    return output / BUNDLE
