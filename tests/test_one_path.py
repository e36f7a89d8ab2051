"""One path: torch, the exported graph, batches and workers all give the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from rich.console import Console

import duibiao
from duibiao import ConfigError, ParityError, Tagger
from duibiao.data.records import read_proposals
from duibiao.training.export import Parity, compare
from duibiao.training.fit import restore
from duibiao.training.graph import IR, OPSET, Nodes, Parts, _decide
from duibiao.training.run import export_run, train
from duibiao.training.thresholds import decide, review_flags

ROOT = Path(__file__).resolve().parent.parent
QUIET = Console(quiet=True)
ODD = ["", " ", "😀😀😀", "\ud800", "a\x00b", "检测" * 400, "steel " * 500, "Модель", "，" * 50]


@pytest.fixture(scope="module")
def real_texts(taxonomy) -> list[str]:
    proposals = list(read_proposals(ROOT / "data/proposals/validation.jsonl", taxonomy))
    return [p.text for p in proposals if p.lang == "zh"][:12] + [p.text for p in proposals if p.lang == "en"][:12]


def parity(run: Path, bundle: Path, texts: list[str], taxonomy) -> Parity:
    tagger = Tagger.load(bundle)
    reference = restore(run, taxonomy).scores(texts)
    return compare(reference, tagger.output(texts).probabilities, tagger.bundle.manifest.thresholds)


def test_full_precision_graph_equals_torch(tiny_run: Path, taxonomy, real_texts, tmp_path: Path):
    export_run(tiny_run, tmp_path / "bundle", precision="full", console=QUIET)
    found = parity(tiny_run, tmp_path / "bundle", real_texts + ODD, taxonomy)
    assert found.largest < 1e-5
    assert found.flips == 0


@pytest.mark.parametrize("precision", ["int8", "weights8"])
def test_quantised_graphs_are_close_to_torch(precision, tiny_run: Path, taxonomy, real_texts, tmp_path: Path):
    export_run(tiny_run, tmp_path / "bundle", precision=precision, console=QUIET)
    assert parity(tiny_run, tmp_path / "bundle", real_texts, taxonomy).mean < 0.01
    assert (tmp_path / "bundle/model.onnx").stat().st_size < 1_000_000


def test_a_graph_that_decides_otherwise_is_refused(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "duibiao.training.fit.Fit.scores", lambda self, texts: np.full((len(texts), 21), 0.99, np.float32)
    )
    with pytest.raises(ParityError, match="weights8"):
        export_run(tiny_run, tmp_path / "bundle", console=QUIET)
    assert not (tmp_path / "bundle").exists()


def test_export_overwrites_a_bundle_and_nothing_else(tiny_run: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        export_run(tiny_run, tmp_path / "mine", console=QUIET)
    assert (tmp_path / "mine/thesis.txt").exists()
    for _ in range(2):
        export_run(tiny_run, tmp_path / "bundle", console=QUIET)
    assert Tagger.load(tmp_path / "bundle").tag("road").readable


def test_same_text_same_score_alone_in_a_batch_and_with_any_workers(real_texts):
    texts = real_texts + ODD
    one, two = Tagger.load(workers=1), Tagger.load(workers=2)
    batch = one.output(texts)
    assert np.array_equal(batch.probabilities, two.output(texts).probabilities)
    assert np.array_equal(batch.probabilities[::-1], one.output(texts[::-1]).probabilities)
    for i, text in enumerate(texts):
        assert np.array_equal(one.output([text]).probabilities[0], batch.probabilities[i])


def test_graph_decides_as_training_does():
    import onnxruntime as ort

    rng = np.random.default_rng(0)
    labels = tuple(f"l{i}" for i in range(6))
    scores = rng.random((500, 6)).astype(np.float32)
    readable = rng.random(500) < 0.9
    thresholds = np.array([0.5, 0.4, 0.4, 0.6, 0.6, 0.6], np.float32)
    margin = 0.07
    parts = Parts(None, np.zeros(1), np.zeros(1), (), (), -1, 0, 8, labels, tuple(thresholds.tolist()), margin)
    g = Nodes("")
    _decide(g, parts, "p", "r")
    value = helper.make_tensor_value_info
    inputs = [
        value("p", TensorProto.FLOAT, ["n", 6]),
        value("r", TensorProto.BOOL, ["n"]),
        value("thresholds", TensorProto.FLOAT, [6]),
    ]
    outputs = [value("tags", TensorProto.BOOL, None), value("needs_review", TensorProto.BOOL, None)]
    graph = helper.make_graph(g.nodes, "decide", inputs, outputs, initializer=g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    tags, review = session.run(["tags", "needs_review"], {"p": scores, "r": readable, "thresholds": thresholds})
    assert np.array_equal(tags, decide(scores, thresholds) & readable[:, None])
    assert np.array_equal(review, review_flags(scores, thresholds, margin) | ~readable)
    assert 0 < review.mean() < 1


def test_thresholds_can_be_fed(tagger: Tagger):
    import onnxruntime as ort

    session = ort.InferenceSession(str(tagger.bundle.model_path), providers=["CPUExecutionProvider"])
    texts = np.array(["用视觉模型检测钢板表面缺陷"], dtype=object)
    k = len(tagger.taxonomy.labels)
    assert [i.name for i in session.get_inputs()] == ["texts"]
    everything, nothing = (
        session.run(["tags"], {"texts": texts, "thresholds": np.full(k, t, np.float32)})[0] for t in (0, 1.1)
    )
    assert everything.all()
    assert not nothing.any()


def test_graph_names_its_labels_and_thresholds(tagger: Tagger):
    import json

    import onnxruntime as ort

    session = ort.InferenceSession(str(tagger.bundle.model_path), providers=["CPUExecutionProvider"])
    labels, thresholds, none = session.run(
        ["labels", "threshold_of_label", "probabilities"], {"texts": np.array([], dtype=object)}
    )
    assert tuple(labels) == tagger.taxonomy.label_ids
    assert tuple(thresholds.tolist()) == pytest.approx(tagger.bundle.manifest.thresholds)
    assert none.shape == (0, len(labels))
    metadata = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["duibiao.labels"])) == tagger.taxonomy.label_ids


def test_another_backbone_trains_and_exports_with_its_own_tokenizer(
    tiny_config, tiny_backbone, tmp_path: Path, taxonomy
):
    config = tiny_config(tiny_backbone, tmp_path / "run", epochs=2)
    bundle = train(config, QUIET)
    assert (bundle / "tokenizer.json").exists()
    tagger = Tagger.load(bundle)
    assert tagger.bundle.manifest.kind == "ids"
    export_run(tmp_path / "run", tmp_path / "full", precision="full", console=QUIET)
    texts = ["a steel model", "检测钢板缺陷" * 30, "", "road " * 200]
    assert parity(tmp_path / "run", tmp_path / "full", texts, taxonomy).largest < 1e-5
    assert "for its authors to say" in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert tagger.tag("检测钢板缺陷").model_version == duibiao.__version__
