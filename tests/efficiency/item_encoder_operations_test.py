"""Operations of an item encoder, as the click model without the representation center runs it, against a hand's."""

import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.efficiency.operations import count_operations
from mim_tf.training.item_encoder_model import load_item_encoder_model, save_item_encoder_model
from mim_tf.workdir import StageFolder
from tests.efficiency.encoder_by_hand import BLOCKS, FUSION, NORMALISED, PATCH_EMBEDDING, SINGLE, SIZE
from tests.finetuning.toy_csft import TITLES, item_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    represent = StageFolder(tmp_path_factory.mktemp("encoder"), "represent")
    represent.path.mkdir()
    save_item_encoder_model(represent, item_encoder())
    return load_item_encoder_model(represent)


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def per_item(function: Any) -> float:
    images, titles = tf.constant([picture(row) for row in range(len(TITLES))]), tf.constant(TITLES.tolist())
    return count_operations(tf.function(function).get_concrete_function(images, titles), images, titles) / len(TITLES)


def test_an_embedding(model: Any) -> None:
    assert per_item(model.embed) == pytest.approx(PATCH_EMBEDDING + BLOCKS + FUSION + SINGLE + NORMALISED, rel=0.05)


def test_an_embedding_and_its_gradient(model: Any) -> None:
    def gradient(images: tf.Tensor, titles: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            embeddings = model.embed(images, titles)
        return embeddings, tape.gradient(embeddings, model.learning, tf.ones_like(embeddings))

    # Each product has two gradients, but that of the patches: nothing is learnt by the pixels.
    expected = 2 * PATCH_EMBEDDING + 3 * (BLOCKS + FUSION + SINGLE) + NORMALISED
    assert per_item(gradient) == pytest.approx(expected, rel=0.05)
