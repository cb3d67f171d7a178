"""An image and its title into one embedding, by an architecture that reads both at once."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from mim_tf.encoders.beit3 import load_joint
from mim_tf.encoders.beit3_layers import OFFSET
from mim_tf.encoders.checkpoints import read_json
from mim_tf.encoders.pixels import Pixels
from mim_tf.encoders.tokenizers import SentencePiece, Tokenizer, tokenizer_files
from mim_tf.encoders.vision.beit3 import BEIT3_VISION
from mim_tf.encoders.weights import download


class PairEncoder(keras.Model):
    """`h = W F(image, title)`: every patch attends to every word and the other way round.

    For items whose image and title belong together. The pipeline keeps them apart and fuses their embeddings, since
    queries have an image only. `pair_encoder` makes one from a checkpoint.

    Args:
        backbone: a model of `images`, `token_ids` and `padding_mask` with an output `pooled`, as `load_joint` makes it.
        pixels: the input side of images.
        tokenizer: the input side of titles.
        image_size: both sides of the input, pixels.
        length: tokens per title.
        dim: dimension of the embedding; None leaves out the projection.

    Call arguments:
        images: `[batch, image_size, image_size, 3]` float32 pixels in 0..255.
        token_ids: `[batch, length]` int32, as `tokenize` makes them.

    Returns:
        `[batch, dim]` float32, not normalised; without a projection `[batch, hidden]`.

    Reference: Wang et al., Image as a Foreign Language: BEiT-3 (arXiv 2208.10442), its fusion encoder.
    """

    def __init__(
        self,
        backbone: keras.Model,
        pixels: Pixels,
        tokenizer: Tokenizer,
        *,
        image_size: int,
        length: int,
        dim: int | None,
    ):
        super().__init__(name="pair_encoder")
        self.backbone = backbone
        self.pixels = pixels
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.length = length
        self.projection = keras.layers.Dense(dim, name="projection", dtype="float32") if dim else None
        if self.projection:
            self.projection.build((None, backbone.output["pooled"].shape[-1]))
        self.built = True

    def decode(self, image: tf.Tensor) -> tf.Tensor:
        """Scalar string, the bytes of one encoded image, to `[image_size, image_size, 3]` float32 in 0..255."""
        return self.pixels.decode(image, self.image_size)

    def tokenize(self, titles: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32 token ids."""
        return self.tokenizer.tokenize(titles, self.length)

    def call(self, images: tf.Tensor, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed a batch of items."""
        mask = self.tokenizer.mask(token_ids)
        inputs = {"images": self.pixels.normalise(images), "token_ids": token_ids, "padding_mask": mask}
        pooled = tf.cast(self.backbone(inputs, training=training)["pooled"], tf.float32)
        return self.projection(pooled) if self.projection else pooled

    def embed(self, images: tf.Tensor, titles: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings, the bytes of encoded images, and `[batch]` titles to `[batch, dim]`."""
        size = self.image_size
        pixels = tf.map_fn(
            self.decode, tf.convert_to_tensor(images), fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32)
        )
        return self(pixels, self.tokenize(tf.convert_to_tensor(titles)))


def pair_encoder(
    weights: str | Path, *, dim: int | None, length: int, image_size: int | None = None, dtype: str = "float32"
) -> PairEncoder:
    """BEiT-3 for images and titles at once.

    Args:
        weights: a checkpoint's folder, as `mim_tf.encoders.beit3` says how to make it, with `beit3.spm`.
        dim: dimension of the embedding; None leaves out the projection.
        length: tokens per title, special ones included.
        image_size: both sides of the input, pixels; None takes the checkpoint's.
        dtype: policy of the backbone.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a length beyond the checkpoint's positions, weights of another architecture, or tensors that do not
            fit, by name.
    """
    folder = Path(download(weights))
    longest = read_json(folder / "config.json").get("max_text_positions", length + OFFSET) - OFFSET
    if length > longest:
        raise ValueError(f"`length` must be at most {longest}, the checkpoint's longest text. Received: {length}.")
    tokenizer = SentencePiece(tokenizer_files(folder))
    backbone = load_joint(folder, image_size=image_size, dtype=dtype)
    size = backbone.input["images"].shape[1]
    return PairEncoder(backbone, BEIT3_VISION.pixels, tokenizer, image_size=size, length=length, dim=dim)
