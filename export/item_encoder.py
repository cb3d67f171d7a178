"""The item encoder as a served model."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder


def save_item_encoder(represent: StageFolder, folder: Path) -> None:
    """Write the encoder of a finished `represent` stage, in inference mode. Its ops are TensorFlow's and TF Text's.

    The signature `embed`, which is also the default one:

        image        [n] string   encoded bytes
        title        [n] string
        -> embedding [n, dim] float32, encoder [n] string: the fingerprint that the store knows

    Raises:
        StageError: the stage left no encoder, as where an earlier release ran it.
    """
    module = tf.Module(name="item_encoder")
    module.model = load_item_encoder_model(represent)
    fingerprint = fingerprint_file(represent).read_text(encoding="utf-8").strip()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name) for name in ("image", "title")])
    def embed(image: tf.Tensor, title: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding = module.model.embed(image, title)
        return {"embedding": embedding, "encoder": tf.fill(tf.shape(title), fingerprint)}

    tf.saved_model.save(module, str(folder), signatures={"embed": embed, "serving_default": embed})
