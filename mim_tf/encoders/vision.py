"""F_V: image bytes to embeddings."""

from __future__ import annotations

from typing import Any

import keras
import keras_nlp
import tensorflow as tf

# Architectures by name: the arguments of `keras_nlp.models.ViTBackbone` apart from the image's shape.
VISION_ENCODERS: dict[str, dict[str, Any]] = {
    "vit_nano": {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64},
    "vit_mini": {"patch_size": 16, "num_layers": 3, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 256},
    "vit_tiny": {"patch_size": 8, "num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 256},
    "vit_small": {"patch_size": 8, "num_layers": 6, "num_heads": 6, "hidden_dim": 192, "mlp_dim": 384},
}


class VisionEncoder(keras.Model):
    """A vision transformer, mean pooling and a projection: `h_img = W F_V(image)`, equation (2).

    The encoder owns its input side: `decode` turns encoded bytes into the pixels that the model takes, and scaling
    happens inside the model, so training and serving cannot disagree.

    Args:
        name: one of `VISION_ENCODERS`.
        image_size: both sides of the input, pixels; a multiple of the architecture's patch size.
        dim: dimension of the embedding.

    Call arguments:
        images: `[batch, image_size, image_size, 3]` float32 pixels in 0..255.

    Returns:
        `[batch, dim]`, not normalised.

    Raises:
        ValueError: an unknown name, or a size that is no multiple of the patch.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words (arXiv 2010.11929); the mean of the patches in place
    of a class token: Beyer et al., Better plain ViT baselines (arXiv 2205.01580).
    """

    def __init__(self, name: str, image_size: int, dim: int):
        if name not in VISION_ENCODERS:
            raise ValueError(f"`name` must be one of {', '.join(sorted(VISION_ENCODERS))}. Received: {name!r}.")
        architecture = VISION_ENCODERS[name]
        if image_size % architecture["patch_size"]:
            raise ValueError(
                f"`image_size` must be a multiple of the patch size {architecture['patch_size']} of {name}. "
                f"Received: {image_size}."
            )
        super().__init__(name="vision_encoder")
        self.image_size = image_size
        self.dim = dim
        self.scale = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")
        self.backbone = keras_nlp.models.ViTBackbone(
            image_shape=(image_size, image_size, 3), use_class_token=False, **architecture
        )
        self.projection = keras.layers.Dense(dim, name="projection")
        self.projection.build((None, architecture["hidden_dim"]))
        self.built = True

    def decode(self, image: tf.Tensor) -> tf.Tensor:
        """Pixels of one encoded image (JPEG, PNG, GIF's first frame, BMP).

        Args:
            image: scalar string, the encoded bytes.

        Returns:
            `[image_size, image_size, 3]` float32 in 0..255.
        """
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
        pixels.set_shape([None, None, 3])
        resized = tf.image.resize(pixels, [self.image_size, self.image_size], antialias=True)
        return tf.clip_by_value(resized, 0.0, 255.0)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed a batch of pixels."""
        patches = self.backbone(self.scale(images), training=training)  # [batch, patches, hidden]
        return self.projection(tf.reduce_mean(patches, axis=1))
