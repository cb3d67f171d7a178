"""F_V: image bytes to embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from mim_tf.encoders.checkpoints import TensorFiles, copy_weights
from mim_tf.encoders.encoder_folder import read_description, read_weights, write_encoder
from mim_tf.encoders.family import Arguments
from mim_tf.encoders.pixels import IMAGE_SIZE, Pixels
from mim_tf.encoders.preprocessors import pixels_of, pixels_of_converter
from mim_tf.encoders.vision import VISION_ENCODERS, VISION_FAMILIES
from mim_tf.encoders.weights import (
    Kind,
    check_size,
    checkpoint_arguments,
    download,
    family_of,
    from_preset,
    kind_of,
    read_checkpoint,
)


class VisionEncoder(keras.Model):
    """`h_img = W F_V(image)`, equation (2): a backbone pooled as its authors do it, and a projection.

    The encoder owns its input side: `decode` turns encoded bytes into the pixels that the model takes, and scaling
    happens inside the model, so training and serving cannot disagree. `vision_encoder` makes one by name.

    Args:
        family: name of the architecture, one of `VISION_FAMILIES`.
        arguments: of its backbone.
        image_size: both sides of the input, pixels; a multiple of the architecture's patch size, where it has one.
        dim: dimension of the embedding; None leaves out the projection.
        pixels: the input side; None means the architecture's own.
        dtype: policy of the backbone, float32 or mixed_bfloat16. The projection and what comes out are float32.

    Call arguments:
        images: `[batch, image_size, image_size, 3]` float32 pixels in 0..255.

    Returns:
        `[batch, dim]` float32, not normalised; without a projection `[batch, hidden]`.

    Raises:
        ValueError: an image size that is no multiple of the patch size.
    """

    def __init__(
        self,
        family: str,
        arguments: Arguments,
        *,
        image_size: int,
        dim: int | None,
        pixels: Pixels | None = None,
        dtype: str = "float32",
    ):
        patch = arguments.get("patch_size", 1)
        if image_size % patch and VISION_FAMILIES[family].whole_patches:
            raise ValueError(f"`image_size` must be a multiple of the patch size {patch}. Received: {image_size}.")
        super().__init__(name="vision_encoder")
        self.family = family
        self.arguments = arguments
        self.image_size = image_size
        self.dim = dim
        self.pixels = pixels or VISION_FAMILIES[family].pixels
        self.backbone = VISION_FAMILIES[family].build(image_size=image_size, dtype=dtype, **arguments)
        hidden = self.backbone.output["pooled"].shape[-1]
        self.projection = keras.layers.Dense(dim, name="projection", dtype="float32") if dim else None
        if self.projection:
            self.projection.build((None, hidden))
        self.built = True

    def decode(self, image: tf.Tensor) -> tf.Tensor:
        """Scalar string, the bytes of one encoded image, to `[image_size, image_size, 3]` float32 in 0..255."""
        return self.pixels.decode(image, self.image_size)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed a batch of pixels."""
        pooled = self.pool(images, training=training)
        return self.projection(pooled) if self.projection else pooled

    def pool(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What the backbone makes of them, before the projection: `[batch, hidden]` float32."""
        return tf.cast(self.backbone(self.pixels.normalise(images), training=training)["pooled"], tf.float32)

    def embed(self, images: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings, the bytes of encoded images, to `[batch, dim]`; for SavedModels and notebooks."""
        size = self.image_size
        pixels = tf.map_fn(
            self.decode, tf.convert_to_tensor(images), fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32)
        )
        return self(pixels)

    def save_folder(self, folder: Path) -> None:
        """Write all that `vision_encoder(weights=folder)` needs into a folder that is made here."""
        description = {
            "modality": "vision",
            "family": self.family,
            "arguments": self.arguments,
            "image_size": self.image_size,
            "dim": self.dim,
            "pixels": asdict(self.pixels),
        }
        write_encoder(folder, self, description)

    @classmethod
    def load_folder(cls, folder: Path, dtype: str = "float32") -> VisionEncoder:
        """The encoder that `save_folder` wrote, as it was; `vision_encoder(weights=folder)` may change size and dim."""
        description = read_description(folder, "vision")
        encoder = cls(**description | {"pixels": Pixels(**description["pixels"])}, dtype=dtype)
        read_weights(folder, encoder)
        return encoder


def vision_encoder(
    name: str,
    *,
    dim: int | None,
    image_size: int | None = None,
    weights: str | Path | None = None,
    dtype: str = "float32",
) -> VisionEncoder:
    """A vision encoder by name.

    Args:
        name: one of `VISION_ENCODERS`, or with weights one of `VISION_FAMILIES`, whose size the weights tell.
        dim: dimension of the embedding; None leaves out the projection.
        image_size: both sides of the input, pixels; None takes that of the weights' preprocessing,
            else the weights' own; 224 without weights.
        weights: a folder of transformers or timm (`config.json`, `model.safetensors`); `hf://owner/name`, which fetches
            such a folder; a keras-nlp preset handle; or a folder that `VisionEncoder.save_folder` or a stage wrote.
            None starts from random weights.
        dtype: policy of the backbone.

    Raises:
        ValueError: an unknown name, weights of another architecture or size, or tensors that do not fit, by name.
        FileNotFoundError: a file is missing.
    """
    family, size = family_of(name, VISION_FAMILIES, VISION_ENCODERS, weights)
    if weights is None:
        start = _Start(size or {}, IMAGE_SIZE, VISION_FAMILIES[family].pixels, lambda encoder: None)
    else:
        weights = download(weights)
        start = _STARTS[kind_of(weights)](weights, family)
        check_size(name, size, start.arguments, weights)
    encoder = VisionEncoder(
        family, start.arguments, image_size=image_size or start.image_size, dim=dim, pixels=start.pixels, dtype=dtype
    )
    start.fill(encoder)
    return encoder


class _Start(NamedTuple):
    """Where an encoder starts from."""

    arguments: Arguments
    image_size: int
    pixels: Pixels
    fill: Callable[[VisionEncoder], None]


def _from_checkpoint(weights: str | Path, family: str) -> _Start:
    folder, described = Path(weights), VISION_FAMILIES[family]
    layout, config = read_checkpoint(folder, family, described)
    arguments = checkpoint_arguments(layout, config, folder)
    image_size, pixels = pixels_of(folder, config, described.pixels)

    def fill(encoder: VisionEncoder) -> None:
        layout.load(encoder.backbone, arguments, TensorFiles(folder), described.grids(arguments))

    return _Start(arguments, image_size, pixels, fill)


def _from_encoder(weights: str | Path, family: str) -> _Start:
    saved = VisionEncoder.load_folder(Path(weights))
    if saved.family != family:
        raise ValueError(f"`weights` must be of a {family} encoder. In {weights}: {saved.family}.")

    def fill(encoder: VisionEncoder) -> None:
        copy_weights(saved.backbone, encoder.backbone, VISION_FAMILIES[family].grids(saved.arguments))
        if encoder.projection and saved.projection and encoder.dim == saved.dim:
            encoder.projection.set_weights(saved.projection.get_weights())

    return _Start(saved.arguments, saved.image_size, saved.pixels, fill)


def _from_preset(weights: str | Path, family: str) -> _Start:
    preset = VISION_FAMILIES[family].preset
    if preset is None:
        raise ValueError(f"`weights` must be a folder with {family}, of which keras-nlp has no presets.")
    backbone = from_preset(preset.backbone, str(weights))
    arguments = preset.arguments(backbone)

    def fill(encoder: VisionEncoder) -> None:
        copy_weights(backbone, encoder.backbone, VISION_FAMILIES[family].grids(arguments))

    converter = from_preset(preset.converter.from_preset, str(weights))
    image_size, pixels = pixels_of_converter(converter, backbone.inputs[0].shape[1])  # convolutions leave it open
    return _Start(arguments, image_size, pixels, fill)


_STARTS = {Kind.CHECKPOINT: _from_checkpoint, Kind.ENCODER: _from_encoder, Kind.PRESET: _from_preset}
