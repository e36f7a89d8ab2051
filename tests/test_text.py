"""The text path: what Python computes in training is what the graph computes everywhere else."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from duibiao.data.errors import BundleError
from duibiao.text import SPECIAL, UNKNOWN_ID, TextTable, clean, pieces, window_bounds
from duibiao.training.graph import IR, OPSET, Nodes, _tokenise

ROOT = Path(__file__).resolve().parent.parent


def graph_ids(table: TextTable, texts: list[str]) -> list[list[int]]:
    g = Nodes("")
    ids = _tokenise(g, table, "text")
    graph = helper.make_graph(
        g.nodes, "ids", [helper.make_tensor_value_info("text", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info(ids, TensorProto.INT64, None)], initializer=g.constants,
    )  # fmt: skip
    opsets = [
        helper.make_opsetid("", OPSET),
        helper.make_opsetid("ai.onnx.ml", 3),
        helper.make_opsetid("com.microsoft", 1),
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"text": np.array([clean(t)], dtype=object)})[0].tolist() for t in texts]


RANGES = [  # Latin to Cyrillic, punctuation, kana, Han; Hangul, surrogates, compatibility, emoji, astral Han
    *((0x00, 0x7F), (0x80, 0x24F), (0x370, 0x4FF), (0x2000, 0x27FF), (0x3000, 0x30FF), (0x3400, 0x9FFF)),
    *((0xAC00, 0xD7FF), (0xD800, 0xDFFF), (0xF900, 0xFFFF), (0x1F300, 0x1FAFF), (0x20000, 0x2FFFF)),
]


def fuzz(rng: random.Random, table: TextTable) -> str:
    known = list(table.ids)
    parts = []
    for _ in range(rng.randrange(12)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(known))
        elif kind < 0.8:
            low, high = rng.choice(RANGES)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 6))))
        else:
            parts.append("".join(rng.choice("abcXYZ09ａＺ０９ \t\n中，—") for _ in range(rng.randrange(1, 9))))
        parts.append(rng.choice(["", "", " ", "\u3000", "\u200b"]))
    return "".join(parts)


@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_python_and_graph_give_the_same_ids(which: str, tiny_table: TextTable):
    table = tiny_table if which == "tiny" else TextTable.load(ROOT / "training/encoder/text_table.json")
    rng = random.Random(5)
    texts = ["", " ", "😀😀", "a\x00b", "\ud800", "x" * 3000, *(fuzz(rng, table) for _ in range(3000))]
    assert graph_ids(table, texts) == [table.encode(t) for t in texts]


def test_pieces():
    assert pieces("PyTorch LLMs AI赋能2025年12345") == [
        "Py",
        "Torch",
        "LLM",
        "s",
        "AI",
        "赋",
        "能",
        "2025",
        "年",
        "1234",
        "5",
    ]
    assert pieces("| a\u200bb |\u3000c") == ["a", "b", "c"]


def test_case_width_and_traditional_read_alike(tiny_table: TextTable):
    plain = tiny_table.encode("ai model 检测数据,12")
    assert UNKNOWN_ID not in plain
    assert tiny_table.encode("AI Model 檢測數据，１２") == plain
    assert tiny_table.encode("ＡＩ models 檢測數據，12")[:4] == plain[:4]


def test_amounts_read_alike(tiny_table: TextTable):
    assert tiny_table.encode("360") == tiny_table.encode("985")
    assert tiny_table.encode("2025") == tiny_table.encode("1999") != tiny_table.encode("2525")


@pytest.mark.parametrize(("length", "window"), [(0, 5), (1, 5), (5, 5), (6, 5), (999, 7), (384, 384), (385, 384)])
def test_windows_cover_everything_once(length: int, window: int):
    bounds = window_bounds(length, window)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == length
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    assert max(b - a for a, b in bounds) <= window
    assert len(bounds) == max(1, -(-length // window))


def test_clean_joins_pairs_and_replaces_lone_surrogates():
    assert clean("a\ud83d\ude00b") == "a😀b"
    assert clean("a\ud800b") == "a\ufffdb"
    assert clean("汉字") == "汉字"


@pytest.mark.parametrize(
    ("tokens", "aliases", "pairs", "field"),
    [
        (("x",), {}, (), "tokens"),
        ((*SPECIAL, "x", "x"), {}, (), "tokens"),
        ((*SPECIAL, "x"), {"y": "z"}, (), "aliases"),
        ((*SPECIAL, "x"), {}, (("x", "y"),), "pairs"),
    ],
)
def test_a_broken_table_names_the_field(tokens, aliases, pairs, field):
    with pytest.raises(BundleError, match=field):
        TextTable(tokens, aliases, pairs)


def test_table_survives_a_round_trip(tiny_table: TextTable, tmp_path: Path):
    tiny_table.save(tmp_path / "t.json")
    assert TextTable.load(tmp_path / "t.json") == tiny_table
