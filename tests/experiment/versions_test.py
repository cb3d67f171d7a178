"""The versions of the paper's tables, as settings."""

from pathlib import Path
from typing import Any

import pytest

from mim_tf.experiment import versions
from mim_tf.experiment.chain import changed
from mim_tf.experiment.sheets import SHEETS
from mim_tf.experiment.versions import Version
from mim_tf.settings import Settings, load_settings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def demo() -> Settings:
    return load_settings(CONFIGS / "demo.yaml")


def of(settings: Settings, version: Version) -> Settings:
    assert version.reason is None
    return changed(settings, version.changes)


def test_every_version_of_the_demo_is_a_run(demo: Settings) -> None:
    runs = {
        name: [changed(demo, version.changes) for version in kind.versions(demo) if version.reason is None]
        for name, kind in SHEETS.items()
    }
    # 6 x 2; all but +DDA, which the demo has not; the run, Base and what is compared with them.
    counts = {"table1": 0, "table2": 12, "table3": 5, "table4": 7, "table5": 8, "table6": 2, "table7": 2}
    assert {name: len(of_sheet) for name, of_sheet in runs.items()} == {**counts, "figure5": 2, "figure6": 2}


def test_user_behaviour_models_are_the_papers(demo: Settings) -> None:
    models = versions.user_behaviour_models(demo)
    assert list(models) == ["Avg Pooling", "DIN", "DIEN", "BST", "TWIN", "SIM"]
    for base, mim in models.values():
        assert base.variant == "base"
        assert of(demo, mim).rank.base
        assert of(demo, mim) == of(demo, base)
    assert {of(demo, mim).rank.ubm for _, mim in models.values()} == {"average", "din", "dien", "bst", "twin", "sim"}
    assert of(demo, models["DIN"][1]) == of(demo, versions.mim(demo))


def test_options_of_one_behaviour_model_are_not_anothers(demo: Settings) -> None:
    settings = changed(demo, {"rank.ubm": "sim", "rank.ubm_options": {"top_k": 3}})
    models = versions.user_behaviour_models(settings)
    assert of(settings, models["SIM"][1]).rank.ubm_options == {"top_k": 3}
    assert of(settings, models["DIN"][1]).rank.ubm_options == {}


def test_steps_of_pre_training(demo: Settings) -> None:
    with_adaptation = changed(demo, {"pretrain.masked_language": {}})
    plain, adapted, aligned, tuned = versions.pre_training_steps(with_adaptation)
    run: dict[str, Any] = {version.name: of(with_adaptation, version) for version in (plain, adapted, aligned, tuned)}
    steps = {
        name: (settings.pretrain.masked_language is not None, settings.pretrain.image_text is not None)
        for name, settings in run.items()
    }
    assert steps == {
        "Plain FoM": (False, False),
        "+DDA": (True, False),
        "+DDA+DMA": (True, True),
        "+DDA+DMA+C-SFT": (True, True),
    }
    assert [settings.csft.epochs for settings in run.values()] == [0, 0, 0, demo.csft.epochs]
    assert versions.pre_training_steps(demo)[1].reason == "`pretrain` names no adaptation"


def test_signals_and_losses(demo: Settings) -> None:
    found = [
        (of(demo, version).csft.loss, of(demo, version).data.pairs_action)
        for version in versions.signals_and_losses(demo)
    ]
    assert found[1:] == [
        ("matching", "click"),
        ("matching", "purchase"),
        ("contrastive", "click"),
        ("contrastive", "purchase"),
    ]
    assert found[0][0] == "category"
    last = versions.signals_and_losses(demo)[-1]
    assert of(demo, last) == of(demo, versions.mim(demo))  # the demo is v5: not trained twice


def test_ablations_take_one_part_away(demo: Settings) -> None:
    rows = {row.name: of(demo, row) for row in [*versions.csft_ablations(demo), *versions.ciubm_ablations(demo)]}
    assert rows["w/o TFN"].csft.fusion == "concat"
    assert rows["w/o ST-NSG"].csft.st_nsg is None
    assert (rows["w/o multi-level InfoNCE"].csft.alpha, rows["w/o multi-level InfoNCE"].csft.beta) == (0, 0)
    assert rows["w/o C-SFT"].csft.epochs == 0
    modules = [(rows[f"w/o {name} interest module"].rank) for name in ("ID", "content", "fusion")]
    assert [(rank.id_interest, rank.content, rank.fusion) for rank in modules] == [
        (False, True, True),
        (True, False, True),
        (True, True, False),
    ]
    assert not any(settings.rank.base for settings in rows.values())  # Base is trained once


def test_without_csft_its_rows_say_so() -> None:
    hm = load_settings(CONFIGS / "hm.yaml")
    for rows in (versions.signals_and_losses(hm), versions.csft_ablations(hm)):
        assert {row.reason for row in rows} == {"`csft.epochs` is 0"}


def test_with_a_given_encoder_no_encoders_are_compared() -> None:
    daily = load_settings(CONFIGS / "daily.yaml")
    rows = [*versions.signals_and_losses(daily), *versions.csft_ablations(daily), *versions.pre_training_steps(daily)]
    assert {row.reason for row in rows} == {"`represent.encoder` is given, so no encoder is trained"}
    assert all(row.reason is None for row in versions.ciubm_ablations(daily))


def test_foundation_models(demo: Settings) -> None:
    others = {"vision": [{"name": "resnet_mini", "image_size": 64}], "text": [{"name": "gpt2_mini"}]}
    settings = changed(demo, {"experiment": {**demo.experiment.model_dump(mode="json"), **others}})
    kinds = versions.foundation_models(settings)
    assert [row.name for row in kinds["vision"]] == ["resnet_mini", "vit_mini"]
    assert of(settings, kinds["vision"][0]).encoders.vision.name == "resnet_mini"
    assert of(settings, kinds["vision"][0]).encoders.text == settings.encoders.text
    assert [row.name for row in kinds["text"]] == ["gpt2_mini", "bert_tiny"]
    assert of(settings, kinds["text"][1]) == of(settings, versions.mim(settings))


def test_a_part_that_is_left_out_already_is_not_left_out_again(demo: Settings) -> None:
    settings = changed(demo, {"csft.fusion": "concat", "rank.content": False})
    rows = {row.name: row.reason for row in [*versions.csft_ablations(settings), *versions.ciubm_ablations(settings)]}
    assert {name for name, reason in rows.items() if reason == "the run does without it already"} == {
        "w/o TFN",
        "w/o content interest module",
    }
