"""Training: it learns, resumes, repeats itself, and says what is wrong with its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

import duibiao
import duibiao.training.fit as fit_module
from duibiao import Tagger
from duibiao.data.bootstrap import Estimate
from duibiao.data.errors import BundleError, ConfigError
from duibiao.network import Backbone, Batch
from duibiao.training.config import TrainConfig
from duibiao.training.evaluate import Evaluation, verdict
from duibiao.training.fit import batches, drop_pieces, fine_tune, restore

QUIET = Console(quiet=True)


def test_a_run_learns_and_leaves_everything_behind(tiny_run: Path):
    for name in (
        "config.json",
        "log.jsonl",
        "checkpoint.pt",
        "best.pt",
        "report.json",
        "report.html",
        "bundle/manifest.json",
    ):
        assert (tiny_run / name).exists(), name
    report = json.loads((tiny_run / "report.json").read_text(encoding="utf-8"))
    assert [e["name"] for e in report["evaluations"]] == [f"duibiao {duibiao.__version__}", "TF-IDF"]
    assert report["evaluations"][0]["measures"]["all"]["gate_accuracy"]["value"] > 0.9
    assert "TF-IDF" in report["remarks"][0]
    tags = Tagger.load(tiny_run / "bundle").tag("用视觉模型检测钢板缺陷")
    assert tags.domains == ("industrial_development",)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    tiny_config, tiny_encoder, tmp_path: Path, taxonomy, monkeypatch
):
    whole = fine_tune(tiny_config(tiny_encoder, tmp_path / "whole", epochs=3, dropout=0.0), taxonomy, QUIET)
    config = tiny_config(tiny_encoder, tmp_path / "cut", epochs=3, dropout=0.0)
    steps = []

    def stop_in_the_second_epoch(self, batch, truth, original=fit_module.Training.step):
        steps.append(1)
        if len(steps) == len(plan) + 2:
            raise KeyboardInterrupt
        return original(self, batch, truth)

    import random

    lengths = [
        len(Backbone.load(str(tiny_encoder), 16).encode(p.text))
        for p in fit_module.load_split(config, config.train, taxonomy)
    ]
    plan = batches(lengths, config.batch_ids, random.Random(config.seed * 1000))
    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Training, "step", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(config, taxonomy, QUIET)
    assert len((tmp_path / "cut/log.jsonl").read_text().splitlines()) == 1
    resumed = fine_tune(config, taxonomy, QUIET)
    assert len((tmp_path / "cut/log.jsonl").read_text().splitlines()) == 3
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_other_settings_do_not_overwrite_a_run(tiny_config, tiny_run: Path, tiny_encoder, taxonomy):
    with pytest.raises(ConfigError, match="other settings"):
        fine_tune(tiny_config(tiny_encoder, tiny_run, epochs=9), taxonomy, QUIET)


def test_padding_and_windows_do_not_change_scores(tiny_run: Path, taxonomy):
    fit = restore(tiny_run, taxonomy)
    texts = ["检测", "用视觉模型检测钢板缺陷" * 9, "road", ""]
    together = fit.scores(texts)
    for text, row in zip(texts, together, strict=True):
        assert fit.scores([text])[0] == pytest.approx(row, abs=1e-5)
    batch = Batch.collate(fit.backbone, [fit.backbone.encode(t) for t in texts])
    assert batch.documents == 4
    assert batch.document.tolist().count(1) == -(-len(fit.backbone.encode(texts[1])) // 16)


def test_batches_hold_everything_once_within_the_budget():
    import random

    lengths = [random.Random(i).randrange(1, 200) for i in range(300)]
    for rng in (None, random.Random(1)):
        groups = batches(lengths, 1000, rng)
        assert sorted(i for g in groups for i in g) == list(range(300))
        assert all(len(g) * (max(lengths[i] for i in g) + 2) <= 1000 for g in groups)


def test_dropped_pieces_keep_special_ids():
    import random

    ids = drop_pieces([0, 1, 2, 3, 50, 60], 1.0, random.Random(0))
    assert ids == [0, 1, 2, 3, 1, 1]
    assert drop_pieces([50, 60], 0.0, random.Random(0)) == [50, 60]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"epochs": 0}, "'epochs'"),
        ({"epochs": "many"}, "'epochs'"),
        ({"dropout": 1.0}, "'dropout'"),
        ({"train": []}, "'train'"),
        ({"train": "a.jsonl"}, "'train'"),
        ({"epocs": 3}, "'epocs'"),
    ],
)
def test_a_broken_setting_is_named(values, field):
    with pytest.raises(ConfigError, match=field):
        TrainConfig.build(values)


def test_a_broken_settings_file(tmp_path: Path):
    (tmp_path / "a.toml").write_text("epochs = ")
    with pytest.raises(ConfigError, match=r"a\.toml"):
        TrainConfig.read(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("epochs = 2\nbody_rate = 1\n")
    config = TrainConfig.read(tmp_path / "b.toml", epochs=5, seed=None)
    assert (config.epochs, config.body_rate, config.seed) == (5, 1.0, 1)


def test_a_backbone_that_is_not_there(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Backbone.load(str(tmp_path / "none"), 16)


def test_the_verdict_says_where_the_baseline_wins():
    def evaluation(everywhere: float, zh: float) -> Evaluation:
        def part(value: float) -> dict[str, object]:
            return {g: {"micro_f1": Estimate(value, value, value)} for g in ("domains", "supports")}

        return Evaluation("m", "d", {"all": part(everywhere), "zh": part(zh)})

    assert "not on domains, supports, domains zh, supports zh (" in verdict(evaluation(0.5, 0.5), evaluation(0.6, 0.6))
    assert "does NOT beat TF-IDF everywhere: not on domains zh, supports zh (" in verdict(
        evaluation(0.7, 0.5), evaluation(0.6, 0.5)
    )
    assert "the model beats TF-IDF (" in verdict(evaluation(0.6, 0.6), evaluation(0.5, 0.5))


def test_the_report_has_one_panel_a_file_and_measure(tiny_run: Path):
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert page.count("micro-F1 ·") == 4  # two measures, each as heading and as label of its plot
    assert page.count("<circle") == 12  # model and baseline, all and two languages, two measures
