from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from duibiao.data.bootstrap import without_nan
from duibiao.training.metrics import (
    Estimate,
    Predictions,
    f1_from_counts,
    measure,
    measure_by_language,
    resample,
)
from duibiao.training.thresholds import choose_margin, choose_thresholds, decide, review_flags


def predictions(taxonomy, n: int = 200, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    k = len(taxonomy.labels)
    truth = rng.random((n, k)) < 0.3
    truth[:, 0] = truth[:, 1:].any(1)
    scores = np.clip(truth * 0.4 + rng.random((n, k)) * 0.6, 0, 1).astype(np.float32)
    decisions = decide(scores, np.full(k, 0.5, np.float32))
    languages = tuple("zh" if i % 2 else "en" for i in range(n))
    return Predictions(truth, scores, decisions, rng.random(n) < 0.3, languages, tuple(f"p{i // 2}" for i in range(n)))


def test_counts_give_sklearns_f1():
    rng = np.random.default_rng(1)
    truth, decided = rng.random((50, 7)) < 0.4, rng.random((50, 7)) < 0.4
    tp, fp, fn = ((m.sum(0).astype(float)) for m in (truth & decided, ~truth & decided, truth & ~decided))
    assert f1_from_counts(tp, fp, fn).mean() == pytest.approx(f1_score(truth, decided, average="macro"))
    assert f1_from_counts(*(x.sum(keepdims=True) for x in (tp, fp, fn)))[0] == pytest.approx(
        f1_score(truth, decided, average="micro")
    )


def test_whole_projects_are_drawn():
    weights = resample(["a", "a", "b", "c"], 200, 0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_interval_holds_the_value(taxonomy):
    found = measure(predictions(taxonomy), taxonomy, draws=200)
    for group in ("domains", "supports"):
        for estimate in found[group].values():
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.low < estimate.high


def test_perfect_is_one_and_hopeless_is_zero(taxonomy):
    p = predictions(taxonomy)
    perfect = Predictions(p.truth, p.truth.astype(np.float32), p.truth, p.needs_review, p.languages, p.projects)
    assert measure(perfect, taxonomy, draws=50)["supports"]["macro_f1"] == Estimate(1.0, 1.0, 1.0)
    nothing = Predictions(p.truth, p.scores, np.zeros_like(p.truth), p.needs_review, p.languages, p.projects)
    assert measure(nothing, taxonomy, draws=50)["domains"]["micro_f1"].value == 0


def test_languages_are_apart(taxonomy):
    p = predictions(taxonomy)
    found = measure_by_language(p, taxonomy, draws=50)
    assert found["zh"]["proposals"] + found["en"]["proposals"] == found["all"]["proposals"] == 200
    assert set(measure_by_language(p.rows(np.array([c == "zh" for c in p.languages])), taxonomy, draws=50)) == {
        "all",
        "zh",
    }


def test_a_label_without_positives_is_null_in_json(taxonomy):
    p = predictions(taxonomy)
    p.truth[:, 3] = False
    found = measure(p, taxonomy, draws=50)
    assert math.isnan(found["labels"][taxonomy.label_ids[3]]["ap"])
    assert json.loads(json.dumps(without_nan(found), allow_nan=False))["labels"][taxonomy.label_ids[3]]["ap"] is None


def test_decide_shuts_everything_behind_the_gate():
    scores = np.array([[0.9, 0.6, 0.4], [0.1, 0.9, 0.9]], np.float32)
    assert decide(scores, np.full(3, 0.5, np.float32)).tolist() == [[True, True, False], [False, False, False]]


def test_thresholds_find_a_planted_cut(taxonomy):
    rng = np.random.default_rng(3)
    k = len(taxonomy.labels)
    scores = rng.random((3000, k)).astype(np.float32)
    scores[:, 0] = np.where(rng.random(3000) < 0.9, 0.95, 0.05)
    cut = np.array([0.5, *[0.3] * 6, *[0.7] * 14])
    found = choose_thresholds(decide(scores, cut.astype(np.float32)), scores, taxonomy)
    assert found[1] == pytest.approx(0.3, abs=0.03)
    assert found[-1] == pytest.approx(0.7, abs=0.03)


def test_margin_marks_the_asked_share_of_wrong_rows(taxonomy):
    p = predictions(taxonomy, 1000)
    thresholds = np.full(p.scores.shape[1], 0.5, np.float32)
    wrong = (decide(p.scores, thresholds) != p.truth).any(1)
    small, large = (choose_margin(p.truth, p.scores, thresholds, recall) for recall in (0.3, 0.9))
    assert small <= large
    assert review_flags(p.scores, thresholds, large)[wrong].mean() >= 0.9
    assert choose_margin(decide(p.scores, thresholds), p.scores, thresholds, 0.9) == 0.0
