"""Batches of every objective out of real records."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from mim_tf.data import training_batches
from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.hard_negatives import HardNegatives
from mim_tf.data.preparation import prepare
from mim_tf.data.record_schema import PAIRS, TRAIN_ITEMS
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import TrainingSettings
from mim_tf.training.input import Records, distributed_batches
from tests.encoders.conftest import DIM, make_toy
from tests.finetuning.toy_csft import contrast

OBJECTIVES: dict[str, Any] = {
    "masked_language": lambda: MaskedLanguage(toy("text-bert"), mask_share=0.15, whole_words=True),
    "causal_language": lambda: CausalLanguage(toy("text-gpt2")),
    "masked_image": lambda: MaskedImage(toy("vision-vit")),
    "image_views": lambda: ImageViews(toy("vision-resnet")),
    "image_text": lambda: ImageText(toy("vision-vit"), toy("text-bert")),
}


def toy(family: str) -> Any:
    return make_toy(family).encoder


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input")
    make_demo_shop(folder / "shop", items=60, users=20, days=20, searches=10)
    shop = {name: folder / "shop" / f"{name}.parquet" for name in ("items", "impressions", "pairs")}
    prepare(**shop, folder=folder / "records", validation_from=1_736_899_200, shards=2)  # 2025-01-15
    return folder / "records"


def csft(records: Path) -> CsftModel:
    return CsftModel(ItemEncoder(toy("vision-vit"), toy("text-bert"), (), DIM), contrast(), HardNegatives(records))


@pytest.mark.parametrize("name", [*OBJECTIVES, "csft"])
def test_large_batches_have_known_sizes_and_a_loss(records: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_batches, "_LARGEST_SLICE", 4)
    objective = csft(records) if name == "csft" else OBJECTIVES[name]()
    source = Records(records, PAIRS if name == "csft" else TRAIN_ITEMS, count=8)
    options = TrainingSettings(batch_size=8)
    batches = distributed_batches(objective, source, options, 0, 0, tf.distribute.get_strategy())
    assert all(spec.shape[0] == 8 and spec.shape.is_fully_defined() for spec in batches.element_spec.values())
    assert tf.math.is_finite(tf.function(objective.losses_of)(next(iter(batches)))["loss"])
