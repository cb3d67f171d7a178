"""The item encoder as a SavedModel: what a process with the other Keras, or with none, can run and train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops of the tokenisers

from mim_tf.errors import StageError
from mim_tf.workdir import StageFolder, fresh_folder_aside

if TYPE_CHECKING:  # brings all encoders and Keras along, which who loads a model does not need
    from mim_tf.finetuning.item_encoder import ItemEncoder


def save_item_encoder_model(represent: StageFolder, encoder: ItemEncoder) -> None:
    """Leave an item encoder as a SavedModel in the stage's folder, unless there is one.

    It holds

        embed(images [n] string, titles [n] string) -> h_MM [n, dim] float32
        embed_query(images [n] string) -> h_q = F_V(q) [n, dim] float32, not normalised: equation (2)

    from encoded bytes, in inference mode and with stock ops but for TF Text's; `learning`, the list of its trainable
    variables; and `vision`, the list of those that `embed_query` reads. The encoders are of Keras 3 and TFRS needs
    tf_keras: neither knows the other's layers, but both know variables and functions.
    """
    folder = _folder(represent)
    if folder.exists():
        return
    aside = fresh_folder_aside(folder)
    # A layer's custom gradient, unlike those of ops, is lost unless it is asked for.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(_module_of(encoder), str(aside), options=options)
    os.rename(aside, folder)


def load_item_encoder_model(represent: StageFolder) -> Any:
    """What `save_item_encoder_model` left: an object with `embed`, `embed_query`, `learning` and `vision`.

    Raises:
        StageError: there is none, as where an earlier release ran the stage.
    """
    folder = _folder(represent)
    if not folder.exists():
        raise StageError(f"{folder} is missing. Delete {represent.path} and run the stage again.")
    return tf.saved_model.load(str(folder))


def _folder(represent: StageFolder) -> Path:
    return represent.path / "item_encoder_model"


def _module_of(encoder: ItemEncoder) -> tf.Module:
    """The encoder's variables and two functions, without the Keras layers, which would bring functions of their own."""
    size = encoder.vision.image_size
    pixels = tf.TensorSpec([size, size, 3], tf.float32)
    strings = tf.TensorSpec([None], tf.string)

    def decode(images: tf.Tensor) -> tf.Tensor:
        # Each may take as much memory as the largest image that is allowed.
        return tf.map_fn(encoder.vision.decode, images, parallel_iterations=4, fn_output_signature=pixels)

    @tf.function(input_signature=[strings, strings])
    def embed(images: tf.Tensor, titles: tf.Tensor) -> tf.Tensor:
        return encoder(decode(images), encoder.text.tokenize(titles), training=False).fused

    @tf.function(input_signature=[strings])
    def embed_query(images: tf.Tensor) -> tf.Tensor:
        return encoder.vision(decode(images), training=False)

    module = tf.Module(name="item_encoder_model")
    module.embed, module.embed_query = embed, embed_query
    module.learning = [variable.value for variable in encoder.trainable_variables]
    module.constant = [variable.value for variable in encoder.non_trainable_variables]
    module.vision = [variable.value for variable in encoder.vision.variables]
    module.tokenizer = encoder.text.tokenizer  # may own tables of its pieces
    return module
