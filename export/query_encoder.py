"""The query encoder as a served model."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder


def save_query_encoder(represent: StageFolder, folder: Path) -> None:
    """Write F_V of a finished `represent` stage, h_q = F_V(q) of equation (2), in inference mode, without the rest.

    The signature `embed`, which is also the default one:

        image        [n] string   encoded bytes
        -> embedding [n, dim] float32, encoder [n] string: the fingerprint of the item encoder, which the store knows

    An embedding is what C-SFT trained, and what the ranker takes as `query_embedding`: it is not normalised, since only
    cosines are taken of it. Those with the store's embeddings mean something where `represent.centre` is false;
    centring moves h_MM, and leaves h_q where it was.

    Raises:
        StageError: the stage left no query encoder, as where an earlier release ran it.
    """
    model = load_item_encoder_model(represent)
    if not hasattr(model, "embed_query"):
        raise StageError(
            f"{represent.path} has no query encoder, as it is of an earlier release. Delete item_encoder_model and "
            "metrics.json in it and run the stage again, which keeps the store; then train rank anew."
        )
    fingerprint = fingerprint_file(represent).read_text(encoding="utf-8").strip()
    module = tf.Module(name="query_encoder")
    module.weights = list(model.vision)  # what the function reads; the text encoder and the fusion stay behind

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def embed(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": model.embed_query(image), "encoder": tf.fill(tf.shape(image), fingerprint)}

    tf.saved_model.save(module, str(folder), signatures={"embed": embed, "serving_default": embed})
