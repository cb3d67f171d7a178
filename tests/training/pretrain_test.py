"""Stage 1 from prepared records to the encoders it hands over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.encoders import TextEncoder, VisionEncoder
from mim_tf.errors import SettingsError
from mim_tf.settings import Settings
from mim_tf.training import prepare, pretrain
from mim_tf.training.models import load_encoders
from mim_tf.workdir import StageFolder

ONE_EPOCH: dict[str, Any] = {"epochs": 1, "batch_size": 20}
ENCODERS = {"vision": {"name": "vit_toy", "image_size": 32}, "text": {"name": "bert_toy", "length": 8}, "dim": 4}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> str:
    shop = tmp_path_factory.mktemp("shop")
    make_demo_shop(shop, items=60, users=10, days=10, searches=10)
    return str(shop / "items.parquet")


def prepared(items: str, workdir: Path, held_out: float = 0.2, **settings: Any) -> Settings:
    """Settings whose records are made."""
    tree = {"data": {"items": items, "held_out": held_out, "shards": 1}, "encoders": ENCODERS, **settings}
    chosen = Settings.model_validate(tree)
    stage = StageFolder(workdir, "prepare")
    stage.path.mkdir(parents=True)
    stage.finish(prepare.run(chosen, workdir))
    return chosen


def backbones(vision: VisionEncoder, text: TextEncoder) -> list[np.ndarray]:
    return [*vision.backbone.get_weights(), *text.backbone.get_weights()]


def handed_over(workdir: Path) -> list[np.ndarray]:
    return backbones(*load_encoders(StageFolder(workdir, "pretrain"), "float32"))


def adapted(workdir: Path) -> list[np.ndarray]:
    folder = workdir / "pretrain"
    return backbones(
        VisionEncoder.load_folder(folder / "masked_image" / "encoder"),
        TextEncoder.load_folder(folder / "masked_language" / "encoder"),
    )


def furthest(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(some, others, strict=True))


@pytest.mark.slow
def test_the_alignment_starts_from_what_the_adaptations_left(items: str, tmp_path: Path) -> None:
    adaptations = {"masked_language": ONE_EPOCH, "masked_image": ONE_EPOCH}
    hardly = {"image_text": ONE_EPOCH | {"learning_rate": 1e-9}}
    settings = prepared(items, tmp_path, pretrain=adaptations | hardly)
    metrics = pretrain.run(settings, tmp_path)
    assert furthest(handed_over(tmp_path), adapted(tmp_path)) < 1e-6
    assert {f"{name}_examples_per_second" for name in (*adaptations, *hardly)} <= set(metrics)
    assert {f"{name}_input_wait_share" for name in (*adaptations, *hardly)} <= set(metrics)
    assert metrics["image_text_steps"] == metrics["masked_image_steps"] == 2  # 48 items or about, in batches of 20
    tensorboard = StageFolder(tmp_path, "pretrain").tensorboard
    assert (tensorboard / "projector" / "projector_config.pbtxt").exists()

    plain = tmp_path / "plain"
    pretrain.run(prepared(items, plain, pretrain={"image_text": None}), plain)
    assert furthest(handed_over(plain), adapted(tmp_path)) > 1e-4  # the adaptations have learnt


def test_what_a_later_training_refuses_is_refused_before_the_first(items: str, tmp_path: Path) -> None:
    adaptations = {"masked_language": ONE_EPOCH, "masked_image": ONE_EPOCH | {"mask_size": 5}, "image_text": None}
    with pytest.raises(SettingsError, match=r"pretrain\.masked_image: `mask_size` must be a multiple of 16"):
        pretrain.run(prepared(items, tmp_path, pretrain=adaptations), tmp_path)
    assert not (tmp_path / "pretrain" / "masked_language").exists()


def test_nothing_to_train_hands_over_and_measures_plain_encoders(items: str, tmp_path: Path) -> None:
    metrics = pretrain.run(prepared(items, tmp_path, pretrain={"image_text": None}), tmp_path)
    assert {name.removeprefix("encoders_held_out_text_to_image_") for name in metrics if "text_to_image" in name} == {
        *("recall_at_1", "recall_at_5", "recall_at_10", "mrr")
    }
    again = tmp_path / "again"
    pretrain.run(prepared(items, again, pretrain={"image_text": None}), again)
    for one, other in zip(
        load_encoders(StageFolder(tmp_path, "pretrain"), "float32"),
        load_encoders(StageFolder(again, "pretrain"), "float32"),
        strict=True,
    ):
        assert furthest(one.get_weights(), other.get_weights()) == 0  # the projections, too, begin alike


def test_without_held_out_items_the_last_weights_are_handed_over(items: str, tmp_path: Path) -> None:
    settings = prepared(items, tmp_path, held_out=0.0, pretrain={"image_text": ONE_EPOCH})
    metrics = pretrain.run(settings, tmp_path)
    assert not [name for name in metrics if "held_out" in name]
    assert metrics["image_text_steps"] == 3  # 60 items


@pytest.mark.slow
def test_an_adaptation_that_is_done_is_not_done_again(
    items: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = prepared(
        items, tmp_path, pretrain={"masked_language": ONE_EPOCH, "masked_image": ONE_EPOCH, "image_text": None}
    )

    train = pretrain.train

    def interrupted(*arguments: Any, section: str, **options: Any) -> Any:
        if section == "pretrain.masked_image":
            raise KeyboardInterrupt
        return train(*arguments, section=section, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.run(settings, tmp_path)
    encoder = tmp_path / "pretrain" / "masked_language" / "encoder" / "encoder.json"
    before = encoder.stat().st_mtime_ns
    metrics = pretrain.run(settings, tmp_path)
    assert encoder.stat().st_mtime_ns == before
    assert metrics["masked_language_steps"] == 2


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            {"name": "gpt2_toy", "length": 8},
            "masked_language",
            r"pretrain\.masked_language: .*train gpt2 with `causal_language` instead",
        ),
        (
            {"name": "bert_toy", "length": 8},
            "causal_language",
            r"pretrain\.causal_language: .*train bert, .*, with `masked_language` instead",
        ),
        (
            {"name": "bert_toy", "length": 8, "trainable_blocks": 0},
            "masked_language",
            r"`encoders\.text\.trainable_blocks` must be at least 1 for `pretrain\.masked_language`",
        ),
    ],
)
def test_an_objective_that_does_not_fit_is_an_error_of_the_settings(
    items: str, tmp_path: Path, text: dict[str, Any], name: str, message: str
) -> None:
    settings = prepared(items, tmp_path, pretrain={name: ONE_EPOCH, "image_text": None})
    encoders = settings.encoders.model_copy(update={"text": type(settings.encoders.text).model_validate(text)})
    with pytest.raises(SettingsError, match=message):
        pretrain.run(settings.model_copy(update={"encoders": encoders}), tmp_path)


def test_a_batch_too_large_for_the_last_training_is_refused_before_the_first(items: str, tmp_path: Path) -> None:
    too_large = {"masked_language": ONE_EPOCH, "image_text": {"batch_size": 100}}
    with pytest.raises(SettingsError, match=r"`pretrain\.image_text\.batch_size` must be at most 60.*Received: 100"):
        pretrain.run(prepared(items, tmp_path, held_out=0.0, pretrain=too_large), tmp_path)
    assert not (tmp_path / "pretrain" / "masked_language").exists()


def test_two_objectives_of_one_encoder_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"`masked_image` and `image_views` adapt the same encoder"):
        Settings.model_validate({"data": {"items": "i"}, "pretrain": {"masked_image": {}, "image_views": {}}})
