"""Every file in configs/ is read, and its models are built and stepped once."""

from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.ranking import RankingNetwork
from mim_tf.settings import load_settings
from mim_tf.training.models import adapt, build_encoders, write_vocabulary
from mim_tf.workdir import StageFolder

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_models_of_a_config_take_a_step(path: Path, tmp_path: Path) -> None:
    settings = load_settings(path)
    for weights in (settings.encoders.vision.weights, settings.encoders.text.weights):
        if weights and not Path(weights).exists():
            pytest.skip(f"{weights} is not installed")
    prepare = StageFolder(tmp_path, "prepare")
    prepare.path.mkdir()
    write_vocabulary(prepare, VOCABULARY)
    images, titles = build_encoders(settings.encoders, prepare)
    adapt(images, titles, settings.encoders)
    options, dim = settings.csft, settings.encoders.dim
    items = ItemEncoder(images, titles, options.fusion_units, dim)
    model = CsftModel(items, options.temperature, options.alpha, options.beta)
    batch = {
        "query_image": tf.random.uniform([2, images.image_size, images.image_size, 3], maxval=255),
        "image": tf.random.uniform([4, images.image_size, images.image_size, 3], maxval=255),
        "token_ids": titles.tokenize(tf.constant(["a", "b", "a b", "b a"])),
        "item": tf.range(4),
        "query_item": tf.fill([2], -1),
    }
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch)["loss"]
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert tf.math.is_finite(loss)

    rank = settings.rank
    network = RankingNetwork(ubm=rank.ubm, content=rank.content, fusion=rank.fusion, tower_units=rank.tower_units)
    features = {
        "item_id": tf.constant([1, 2], tf.int64),
        "category": tf.constant(["x", "y"]),
        "history_item_id": tf.constant([[2, -1], [1, 2]], tf.int64),
        "history_category": tf.constant([["y", ""], ["x", "y"]]),
        "item_content": tf.random.normal([2, dim]),
        "history_content": tf.random.normal([2, 2, dim]),
    }
    assert network(features).shape == (2,)
