"""Fine-tuning: labelled proposals → classifier, with checkpoints, beside a TF-IDF baseline on the same data."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from duibiao.data.errors import ConfigError
from duibiao.data.records import Proposal, load_texts, read_proposals, wanted_texts
from duibiao.data.taxonomy import Taxonomy
from duibiao.network import Backbone, Batch, ProposalClassifier
from duibiao.text import SPECIAL, UNKNOWN_ID
from duibiao.training.config import TrainConfig

CHECKPOINT, BEST, LOG = "checkpoint.pt", "best.pt", "log.jsonl"
Ids = Sequence[int]


def load_split(config: TrainConfig, paths: Sequence[str], taxonomy: Taxonomy) -> list[Proposal]:
    """All proposals of the files; labels-only records are joined with ``config.texts``, or left out without it."""
    files = [Path(path) for path in paths]
    texts = load_texts(Path(config.texts), wanted_texts(files)) if config.texts else None
    return [p for file in files for p in read_proposals(file, taxonomy, texts)]


def truth_of(proposals: Sequence[Proposal], taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Multi-hot truth ``[n, k]``."""
    return np.array([taxonomy.encode(p.aligned, p.domains, p.supports) for p in proposals], dtype=bool)


def batches(lengths: Sequence[int], budget: int, rng: random.Random | None = None) -> list[list[int]]:
    """Indices grouped by similar length, padded size within ``budget`` ids; shuffled if ``rng`` is given."""
    noise = [rng.uniform(0.8, 1.25) if rng else 1.0 for _ in lengths]
    order = sorted(range(len(lengths)), key=lambda i: lengths[i] * noise[i])
    groups: list[list[int]] = [[]]
    longest = 0
    for i in order:
        longest = max(longest, lengths[i] + 2)
        if groups[-1] and longest * (len(groups[-1]) + 1) > budget:
            groups.append([])
            longest = lengths[i] + 2
        groups[-1].append(i)
    if rng:
        rng.shuffle(groups)
    return groups


def drop_pieces(ids: Ids, share: float, rng: random.Random) -> list[int]:
    """Read a share of the pieces as unknown."""
    return [UNKNOWN_ID if i >= len(SPECIAL) and rng.random() < share else i for i in ids]


@torch.no_grad()
def score(
    model: ProposalClassifier, backbone: Backbone, ids: Sequence[Ids], budget: int, device: torch.device
) -> NDArray[np.float32]:
    """Probabilities ``[n, k]`` of encoded texts, in order."""
    model.eval()
    result = np.zeros((len(ids), model.head.out_features), dtype=np.float32)
    for group in batches([len(i) for i in ids], budget * 4):
        logits = model(Batch.collate(backbone, [ids[i] for i in group]).to(device))
        result[group] = torch.sigmoid(logits.float()).cpu().numpy()
    return result


@dataclass
class Fit:
    """A fine-tuned classifier with the backbone it stands on."""

    model: ProposalClassifier
    backbone: Backbone
    taxonomy: Taxonomy
    config: TrainConfig

    def scores(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Probabilities ``[n, k]`` in torch; the reference that the exported graph is compared with."""
        device = next(self.model.parameters()).device
        return score(self.model, self.backbone, [self.backbone.encode(t) for t in texts], self.config.batch_ids, device)


def build(config: TrainConfig, taxonomy: Taxonomy) -> Fit:
    """Backbone with a fresh head."""
    torch.manual_seed(config.seed)
    backbone = Backbone.load(config.backbone, config.window)
    model = ProposalClassifier(backbone.module, backbone.width, len(taxonomy.labels), config.dropout)
    return Fit(model, backbone, taxonomy, config)


def restore(folder: Path, taxonomy: Taxonomy, texts: str | None = None) -> Fit:
    """The best model of a finished run; ``texts`` says where the texts of labels-only records lie now."""
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = TrainConfig.build(saved | ({"texts": texts} if texts else {}))
        weights = torch.load(folder / BEST, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} is no finished run: {Path(str(error.filename)).name} is missing") from error
    fit = build(config, taxonomy)
    fit.model.load_state_dict(weights["model"])
    fit.model.eval()
    return fit


class Training:
    """State of a run: model, optimiser, schedule, position; saved after every epoch."""

    def __init__(self, fit: Fit, steps: int, device: torch.device) -> None:
        config = fit.config
        self.fit, self.device, self.folder = fit, device, Path(config.output)
        fit.model.to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=config.weight_decay)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, int(config.warmup * steps), steps)
        self.epoch, self.best = 0, -1.0

    def _groups(self) -> list[dict[str, Any]]:
        config, model = self.fit.config, self.fit.model
        embedding = [p for n, p in model.named_parameters() if "embedding" in n]
        head = list(model.head.parameters())
        taken = {id(p) for p in (*embedding, *head)}
        body = [p for p in model.parameters() if id(p) not in taken]
        groups = [{"params": body, "lr": config.body_rate}, {"params": head, "lr": config.head_rate}]
        if config.embedding_rate:
            return [*groups, {"params": embedding, "lr": config.embedding_rate, "weight_decay": 0.0}]
        for parameter in embedding:
            parameter.requires_grad_(False)
        return groups

    def save(self, name: str) -> None:
        state = {"model": self.fit.model.state_dict(), "epoch": self.epoch, "best": self.best}
        if name == CHECKPOINT:
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": torch.get_rng_state(),
            }
        path = self.folder / name
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # an interrupted save leaves the last good one

    def resume(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        self.fit.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.best = state["epoch"], state["best"]
        torch.set_rng_state(state["random"].cpu())

    def step(self, batch: Batch, truth: Tensor) -> float:
        self.fit.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.fit.model(batch.to(self.device))
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits.float(), truth.to(self.device), reduction="none")
            .sum(1)
            .mean()
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.fit.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def fine_tune(config: TrainConfig, taxonomy: Taxonomy, console: Console) -> Fit:
    """Fine-tune, or go on with, the run in ``config.output``; return the classifier of its best epoch.

    Writes ``config.json``, ``log.jsonl`` (a row per epoch), ``checkpoint.pt`` and ``best.pt``.
    """
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "config.json"
    if saved.exists() and json.loads(saved.read_text(encoding="utf-8")) != json.loads(json.dumps(config.to_dict())):
        raise ConfigError(f"{folder} holds a run with other settings; choose another 'output' or delete it")
    saved.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    train, validation = (load_split(config, paths, taxonomy) for paths in (config.train, config.validation))
    if not train or not validation:
        raise ConfigError("no proposal to learn from or to validate on; labels-only records need 'texts'")
    fit = build(config, taxonomy)
    train_ids, validation_ids = ([fit.backbone.encode(p.text) for p in split] for split in (train, validation))
    truth, validation_truth = torch.tensor(truth_of(train, taxonomy)).float(), truth_of(validation, taxonomy)

    def plan(epoch: int) -> tuple[list[list[int]], random.Random]:
        rng = random.Random(config.seed * 1000 + epoch)
        return batches([len(i) for i in train_ids], config.batch_ids, rng), rng

    steps_before = [0]
    for epoch in range(config.epochs):
        steps_before.append(steps_before[-1] + len(plan(epoch)[0]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Training(fit, steps_before[-1], device)
    if (folder / CHECKPOINT).exists():
        training.resume()
        console.print(f"going on after epoch {training.epoch} of {config.epochs}")
    console.print(f"{len(train):,} proposals to learn from, {len(validation):,} for validation, on {device}")
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=steps_before[-1], completed=steps_before[training.epoch])
        for epoch in range(training.epoch, config.epochs):
            groups, rng = plan(epoch)
            losses = []
            for group in groups:
                rows = [train_ids[i] for i in group]
                if fit.backbone.table:
                    rows = [drop_pieces(r, config.piece_dropout, rng) for r in rows]
                losses.append(training.step(Batch.collate(fit.backbone, rows), truth[group]))
                progress.advance(task)
            scores = score(fit.model, fit.backbone, validation_ids, config.batch_ids, device)
            quality = float(average_precision_score(validation_truth[:, 1:].ravel(), scores[:, 1:].ravel()))
            training.epoch = epoch + 1
            if quality > training.best:
                training.best = quality
                training.save(BEST)
            training.save(CHECKPOINT)
            row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "validation_micro_ap": quality}
            progress.console.print(row)
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
    return restore(folder, taxonomy)
