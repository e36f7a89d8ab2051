"""A tiny encoder, a tiny data set and a tiny run that every test shares; nothing is fetched."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from duibiao import Tagger
from duibiao.data.records import Proposal, write_proposals
from duibiao.data.taxonomy import Taxonomy, load_taxonomy
from duibiao.text import SPECIAL, TextTable
from duibiao.training.config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@pytest.fixture(scope="session")
def tagger() -> Tagger:
    """The model that ships."""
    return Tagger.load()


@pytest.fixture(scope="session")
def tiny_table() -> TextTable:
    characters = "检测钢板缺陷用视觉模型开源数据集芯课程道路施工食堂装修的和在，"
    tokens = (
        *SPECIAL,
        *"0123456789",
        ",",
        "ai",
        "model",
        "road",
        "steel",
        "defect",
        "data",
        "set",
        "a",
        *characters[:-1],
    )
    pairs = (("检", "测"), ("数", "据"), ("模", "型"), ("缺", "陷"))
    return TextTable(tokens, {"檢": "检", "測": "测", "數": "数", "，": ",", "models": "model"}, pairs)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_table: TextTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig

    from duibiao.network import TableEncoder

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=66
    )
    folder = tmp_path_factory.mktemp("encoder")
    TableEncoder(tiny_table, config).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small splits in which the label follows from a word."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    kinds = [
        ("zh", "用视觉模型检测钢板缺陷", True, ("industrial_development",), ()),
        ("en", "a model for steel defect data", True, ("industrial_development",), ()),
        ("zh", "开源数据集", True, (), ("datasets", "open_source")),
        ("en", "a data set", True, (), ("datasets",)),
        ("zh", "道路施工食堂装修", False, (), ()),
        ("en", "a road", False, (), ()),
    ]
    for split, size in (("train", 60), ("validation", 24), ("test", 24)):
        rows = []
        for i in range(size):
            lang, text, aligned, domains, supports = kinds[i % len(kinds)]
            filler = " ".join(rng.choice(["的", "和", "在", "road", "data"]) for _ in range(rng.randrange(6)))
            rows.append(Proposal(f"{split}{i}", f"{split}{i}", lang, f"{text} {filler}", aligned, domains, supports))
        write_proposals(folder / f"{split}.jsonl", rows)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_data: Path) -> Callable[..., TrainConfig]:
    """Settings of a run that takes seconds, as a function of backbone, output and what is to differ."""

    def build(backbone: Path, output: Path, **changes: object) -> TrainConfig:
        files = {split: [str(tiny_data / f"{split}.jsonl")] for split in ("train", "validation", "test")}
        settings = {"backbone": str(backbone), "output": str(output), "epochs": 15, "batch_ids": 512, "window": 16}
        rates = {"body_rate": 3e-3, "embedding_rate": 3e-3, "head_rate": 3e-2}
        return TrainConfig.build({**files, **settings, **rates, **changes})

    return build


@pytest.fixture(scope="session")
def tiny_run(
    tiny_config: Callable[..., TrainConfig], tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished `duibiao train` on the tiny data: its folder holds checkpoints, bundle and reports."""
    from duibiao.training.run import train

    folder = tmp_path_factory.mktemp("run") / "tiny"
    train(tiny_config(tiny_encoder, folder), Console(quiet=True))
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with a WordPiece tokenizer of its own, as another backbone would come."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("backbone")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "model",
        "road",
        "steel",
        "defect",
        "data",
        "set",
        *"检测钢板缺陷开源数据集道路",
    ]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary), do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """One labelled record in a file."""
    path = tmp_path / "one.jsonl"
    record = {
        "id": "1",
        "project": "1",
        "lang": "zh",
        "text": "道路施工",
        "aligned": False,
        "domains": [],
        "supports": [],
    }
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
