"""An item's image and title to its multi-modal embedding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from mim_tf.contrastive import ConcatFusion, TensorFusion
from mim_tf.encoders import TextEncoder, VisionEncoder

FUSIONS = {"tensor": TensorFusion, "concat": ConcatFusion}
_DESCRIPTION, _VISION, _TEXT, _FUSION = "item_encoder.json", "vision", "text", "fusion.safetensors"


class ItemEmbeddings(NamedTuple):
    """The three embeddings of a batch of items, each `[batch, dim]`."""

    image: tf.Tensor
    text: tf.Tensor
    fused: tf.Tensor


class ItemEncoder(keras.Model):
    """`h_img = F_V(img)`, `h_txt = F_L(title)`, `h_MM = TFN(h_img, h_txt)`: equations (2) to (4).

    Args:
        vision: F_V, also the encoder of query images.
        text: F_L.
        fusion_units: hidden layers of the fusion MLP.
        dim: dimension of `h_MM`.
        fusion: what the MLP gets: the outer product of both embeddings, or both side by side.
        image_weight: of the image in the sum that the fusion starts as.

    Call arguments:
        images: `[batch, size, size, 3]` pixels in 0..255.
        token_ids: `[batch, length]` int32.

    Returns:
        `ItemEmbeddings`.
    """

    def __init__(
        self,
        vision: VisionEncoder,
        text: TextEncoder,
        fusion_units: Sequence[int],
        dim: int,
        fusion: Literal["tensor", "concat"] = "tensor",
        image_weight: float = 1.0,
    ):
        super().__init__(name="item_encoder")
        self.vision = vision
        self.text = text
        self._fusion_name = fusion
        self.fusion = FUSIONS[fusion](dim, fusion_units, image_weight, name="fusion")
        self.fusion.build((None, dim), (None, dim))
        self.built = True

    def call(self, images: tf.Tensor, token_ids: tf.Tensor, training: bool = False) -> ItemEmbeddings:
        """Embed a batch of items."""
        image = self.vision(images, training=training)
        text = self.text(token_ids, training=training)
        return self.fuse(image, text)

    def fuse(self, image: tf.Tensor, text: tf.Tensor) -> ItemEmbeddings:
        """Add `h_MM` to the two single-modality embeddings.

        Contrastive losses shape directions and leave lengths to chance. So both modalities enter the fusion at unit
        length, to weigh the same, and `h_MM` leaves it at unit length, for behaviours to count alike in the sums (7).
        """
        return ItemEmbeddings(image, text, tf.math.l2_normalize(self._unscaled(image, text), axis=-1))

    def _unscaled(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        return self.fusion(tf.math.l2_normalize(image, axis=-1), tf.math.l2_normalize(text, axis=-1))

    def centre(self, batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> None:
        """Make the mean of `h_MM`, before it is brought to unit length, zero over some items.

        Contrastive embeddings lie in a cone, where all cosines are alike; around their mean they differ again. The
        shift goes into the fusion's bias, so whatever this encoder embeds from now on is centred the same way.

        Args:
            batches: images and token ids, as `call` takes them.
        """

        @tf.function
        def total(images: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(self._unscaled(self.vision(images), self.text(token_ids)), axis=0)

        items, sums = 0, tf.zeros([self.fusion.dim])
        for images, token_ids in batches:
            items, sums = items + len(images), sums + total(images, token_ids)
        self.fusion.out.bias.assign_sub(sums / items)

    def fingerprint(self) -> str:
        """16 hex digits that differ whenever the encoder's weights or tokeniser do."""
        digest = hashlib.sha256()
        for variable in self.weights:
            digest.update(variable.path.encode())
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
        for name, content in sorted(self.text.tokenizer.files.items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()[:16]

    def save_folder(self, folder: Path) -> None:
        """Write what `load_folder` reads into a folder that is made here; vision/ and text/ in it are encoders too."""
        self.vision.save_folder(folder / _VISION)
        self.text.save_folder(folder / _TEXT)
        fusion = {variable.path: keras.ops.convert_to_numpy(variable) for variable in self.fusion.weights}
        save_file(fusion, folder / _FUSION)
        description = {"dim": self.fusion.dim, "fusion_units": self.fusion.units, "fusion": self._fusion_name}
        (folder / _DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")

    @classmethod
    def load_folder(cls, folder: Path, dtype: str = "float32") -> ItemEncoder:
        """The item encoder that `save_folder` wrote; `dtype` is the policy of its backbones."""
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        vision = VisionEncoder.load_folder(folder / _VISION, dtype)
        text = TextEncoder.load_folder(folder / _TEXT, dtype)
        encoder = cls(vision, text, **description)
        fusion = load_file(folder / _FUSION)
        for variable in encoder.fusion.weights:
            variable.assign(fusion[variable.path])
        return encoder
