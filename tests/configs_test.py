"""Every file in configs/ is read, and its models are built and stepped once."""

from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_ENCODERS, VisionEncoder, text_encoder
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.ranking import RankingNetwork
from mim_tf.settings import load_settings

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_models_of_a_config_take_a_step(path: Path) -> None:
    settings = load_settings(path)
    vision, text, dim = settings.encoders.vision, settings.encoders.text, settings.encoders.dim
    if text.weights and not Path(text.weights).exists():
        pytest.skip(f"{text.weights} is not installed")
    vocabulary = VOCABULARY if TEXT_ENCODERS[text.name] else None
    titles = text_encoder(
        text.name, length=text.length, dim=dim, vocabulary=vocabulary, weights=text.weights, trainable=text.trainable
    )
    images = VisionEncoder(vision.name, vision.image_size, dim)
    options = settings.csft
    items = ItemEncoder(images, titles, options.fusion_units, dim)
    model = CsftModel(items, options.temperature, options.alpha, options.beta)
    batch = {
        "query_image": tf.random.uniform([2, vision.image_size, vision.image_size, 3], maxval=255),
        "image": tf.random.uniform([4, vision.image_size, vision.image_size, 3], maxval=255),
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
