from __future__ import annotations

import dataclasses
import pickle

import pytest

from duibiao import Tagger, Tags

STEEL = "在热轧线上用相机和视觉模型自动识别带钢表面划伤、结疤，替代人工质检，减少误判。"
ROAD = "县道改建工程：路基拓宽、沥青面层摊铺、排水沟修复及标线施划，全长12公里。"


def test_a_proposal_and_a_non_proposal(tagger: Tagger):
    steel, road = tagger.tag_batch([STEEL, ROAD])
    assert steel.aligned
    assert steel.domains == ("industrial_development",)
    assert 2 in steel.sections
    assert not road.aligned
    assert road.domains == road.supports == road.sections == ()


def test_english_and_chinese_agree(tagger: Tagger):
    zh = tagger.tag("面向全科医生的胸片辅助诊断系统，自动标出可疑结节，在二十家社区医院试用。")
    en = tagger.tag(
        "A chest X-ray reading assistant for family doctors that marks suspicious nodules, tried in twenty clinics."
    )
    assert zh.domains == en.domains == ("public_wellbeing",)


def test_traditional_reads_as_simplified(tagger: Tagger):
    simplified, traditional = tagger.tag_batch(["检测钢板表面缺陷的视觉模型", "檢測鋼板表面缺陷的視覺模型"])
    assert simplified.scores == traditional.scores


def test_result_is_typed_and_immutable(tagger: Tagger):
    tags = tagger.tag(STEEL)
    assert isinstance(tags, Tags)
    assert set(tags.scores) == set(tagger.taxonomy.label_ids)
    assert all(0 <= v <= 1 for v in tags.scores.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        tags.aligned = False
    with pytest.raises(TypeError):
        tags.scores["aligned"] = 0
    with pytest.raises(KeyError):
        tags.scores["nonsense"]
    assert hash(tags) == hash(pickle.loads(pickle.dumps(tags)))
    assert tags.model_version == tagger.bundle.manifest.model_version
    assert tags.taxonomy_version == tagger.taxonomy.version


def test_labels_come_strongest_first(tagger: Tagger):
    text = "开源发布一套法律大模型、配套的评测基准与五万条标注语料，并开设面向律师的人工智能课程。"
    tags = tagger.tag(text)
    assert len(tags.supports) >= 2
    values = [tags.scores[i] for i in tags.supports]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("text", ["", "   \n", "😀😀😀", "\ud800", "Модель машинного обучения для больниц", "।।।।"])
def test_unreadable_text_gets_no_tags_and_is_reviewed(tagger: Tagger, text: str):
    tags = tagger.tag(text)
    assert not tags.readable
    assert tags.needs_review
    assert not tags.aligned
    assert tags.domains == tags.supports == ()


def test_long_texts_are_read_to_the_end(tagger: Tagger):
    """What stands behind the first ten windows still counts."""
    head = ROAD * 110
    assert len(head) > 4000
    plain, with_end = tagger.tag_batch([head, head + STEEL * 300])
    assert plain.domains == ()
    assert with_end.domains == ("industrial_development",)


def test_wrong_types_are_named(tagger: Tagger):
    with pytest.raises(TypeError, match="text 1 is int"):
        tagger.tag_batch(["a", 3])
    with pytest.raises(TypeError, match="list"):
        tagger.tag_batch("abc")
    assert tagger.tag_batch([]) == []
