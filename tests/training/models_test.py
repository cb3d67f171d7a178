"""What the settings of encoders do to what learns, and that stages hand the encoders over."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import SettingsError
from mim_tf.settings import EncoderSettings
from mim_tf.training.models import build_encoders, load_encoders, save_encoders, write_vocabulary
from mim_tf.workdir import StageFolder

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dress"]
VISION = {"name": "vit_toy", "image_size": 32}
TEXT = {"name": "bert_toy", "length": 6}


@pytest.fixture
def prepare(tmp_path: Path) -> StageFolder:
    stage = StageFolder(tmp_path, "prepare")
    stage.path.mkdir(parents=True)
    write_vocabulary(stage, VOCABULARY)
    return stage


def settings(vision: dict[str, object], text: dict[str, object], **more: object) -> EncoderSettings:
    return EncoderSettings.model_validate({"vision": VISION | vision, "text": TEXT | text, "dim": 4, **more})


def learning(encoder: tf.Module) -> set[str]:
    return {variable.path.rsplit("/", 1)[-1] for variable in encoder.trainable_variables}


def test_each_encoder_learns_as_its_own_section_says(prepare: StageFolder) -> None:
    chosen = settings({"lora_rank": 2}, {"trainable_blocks": 0})
    vision, text = build_encoders(chosen, prepare)
    assert learning(vision) == {"lora_kernel_a", "lora_kernel_b", "kernel", "bias"}  # the last two: the projection's
    assert learning(text) == {"kernel", "bias"}
    last = settings({"trainable_blocks": 1}, {"recompute": True})
    vision, text = build_encoders(last, prepare)
    paths = [variable.path for variable in vision.trainable_variables]
    assert any("transformer_block_2" in path for path in paths)
    assert not any("transformer_block_1" in path for path in paths)
    assert len(text.trainable_variables) == len(text.weights)
    assert text.embed(tf.constant(["red"])).shape == (1, 4)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"trainable_blocks": 9}, r"encoders\.vision\.trainable_blocks: .*must be 0 to 2.*Received: 9"),
        ({"name": "resnet_toy", "lora_rank": 2}, r"encoders\.vision\.lora_rank: .*no dense layers"),
    ],
)
def test_what_an_encoder_cannot_do_is_an_error_of_the_settings(
    prepare: StageFolder, vision: dict[str, object], message: str
) -> None:
    chosen = settings(vision, {})
    with pytest.raises(SettingsError, match=message):
        build_encoders(chosen, prepare)


def test_adapters_and_last_blocks_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"`lora_rank` and `trainable_blocks` exclude each other"):
        settings({"lora_rank": 2, "trainable_blocks": 1}, {})


def test_a_stage_takes_over_the_encoders_and_a_run_those_of_another(prepare: StageFolder, tmp_path: Path) -> None:
    chosen = settings({"lora_rank": 2}, {}, precision="mixed_bfloat16")
    vision, text = build_encoders(chosen, prepare)
    pretrain = StageFolder(tmp_path, "pretrain")
    save_encoders(pretrain, vision, text)
    save_encoders(pretrain, vision, text)  # again, over what an interrupted run left
    images, titles = tf.random.uniform([2, 32, 32, 3], maxval=255), tf.constant(["red dress", ""])
    for same in (
        load_encoders(pretrain, "mixed_bfloat16"),
        build_encoders(
            settings(
                {"weights": str(pretrain.path / "vision"), "name": "vit"},
                {"weights": str(pretrain.path / "text"), "name": "bert"},
                precision="mixed_bfloat16",
            ),
            prepare,
        ),
    ):
        np.testing.assert_allclose(same[0](images), vision(images), rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(same[1].embed(titles), text.embed(titles), rtol=1e-2, atol=1e-2)
    assert sorted(path.name for path in pretrain.path.iterdir()) == ["text", "vision"]
