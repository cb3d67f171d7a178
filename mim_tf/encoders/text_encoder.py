"""F_L: titles to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from mim_tf.encoders.checkpoints import TensorFiles, copy_weights
from mim_tf.encoders.encoder_folder import read_description, read_weights, write_encoder
from mim_tf.encoders.family import Arguments
from mim_tf.encoders.text import TEXT_ENCODERS, TEXT_FAMILIES
from mim_tf.encoders.tokenizers import Tokenizer, tokenizer_files
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


class TextEncoder(keras.Model):
    """`h_txt = W F_L(title)`, equation (2): a backbone pooled as its authors do it, and a projection.

    The encoder owns its input side, the tokeniser. `text_encoder` makes one by name.

    Args:
        family: name of the architecture, one of `TEXT_FAMILIES`.
        arguments: of its backbone.
        tokenizer: the one that belongs to its vocabulary.
        length: tokens per title, special ones included; longer titles are cut off.
        dim: dimension of the embedding; None leaves out the projection.
        dtype: policy of the backbone, float32 or mixed_bfloat16. The projection and what comes out are float32.

    Call arguments:
        token_ids: `[batch, length]` int32, as `tokenize` makes them.

    Returns:
        `[batch, dim]` float32, not normalised; without a projection `[batch, hidden]`.

    Raises:
        ValueError: a length beyond the backbone's longest, or a tokeniser with more tokens than the backbone knows.
    """

    def __init__(
        self,
        family: str,
        arguments: Arguments,
        tokenizer: Tokenizer,
        *,
        length: int,
        dim: int | None,
        dtype: str = "float32",
    ):
        longest = arguments.get("max_sequence_length", length)
        if length > longest:
            raise ValueError(
                f"`length` must be at most {longest}, the backbone's longest sequence. Received: {length}."
            )
        if tokenizer.vocabulary_size > arguments["vocabulary_size"]:
            raise ValueError(
                f"the tokeniser must have at most the backbone's {arguments['vocabulary_size']} tokens. "
                f"Received: {tokenizer.vocabulary_size}."
            )
        super().__init__(name="text_encoder")
        self.family = family
        self.arguments = arguments
        self.length = length
        self.dim = dim
        self.tokenizer = tokenizer
        self.backbone = TEXT_FAMILIES[family].build(dtype=dtype, **arguments)
        hidden = self.backbone.output["pooled"].shape[-1]
        self.projection = keras.layers.Dense(dim, name="projection", dtype="float32") if dim else None
        if self.projection:
            self.projection.build((None, hidden))
        self.built = True

    def tokenize(self, titles: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32 token ids, framed and padded as the backbone knows it."""
        return self.tokenizer.tokenize(titles, self.length)

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed a batch of tokenised titles."""
        pooled = self.pool(token_ids, training=training)
        return self.projection(pooled) if self.projection else pooled

    def pool(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What the backbone makes of them, before the projection: `[batch, hidden]` float32."""
        inputs = {"token_ids": token_ids, "padding_mask": self.tokenizer.mask(token_ids)}
        return tf.cast(self.backbone(inputs, training=training)["pooled"], tf.float32)

    def embed(self, titles: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings to `[batch, dim]`; for SavedModels and notebooks."""
        return self(self.tokenize(tf.convert_to_tensor(titles)))

    def save_folder(self, folder: Path) -> None:
        """Write all that `text_encoder(weights=folder)` needs into a folder that is made here."""
        description = {
            "modality": "text",
            "family": self.family,
            "arguments": self.arguments,
            "length": self.length,
            "dim": self.dim,
        }
        write_encoder(folder, self, description, self.tokenizer.files)

    @classmethod
    def load_folder(cls, folder: Path, dtype: str = "float32") -> TextEncoder:
        """The encoder that `save_folder` wrote, as it was; `text_encoder(weights=folder)` may change length and dim."""
        description = read_description(folder, "text")
        tokenizer = TEXT_FAMILIES[description["family"]].tokenizer(tokenizer_files(folder))
        encoder = cls(**description, tokenizer=tokenizer, dtype=dtype)
        read_weights(folder, encoder)
        return encoder


def text_encoder(
    name: str,
    *,
    dim: int | None,
    length: int,
    weights: str | Path | None = None,
    files: Mapping[str, bytes] | None = None,
    dtype: str = "float32",
) -> TextEncoder:
    """A text encoder by name.

    Args:
        name: one of `TEXT_ENCODERS`, or with weights one of `TEXT_FAMILIES`, whose size the weights tell.
        dim: dimension of the embedding; None leaves out the projection.
        length: tokens per title.
        weights: a folder of transformers (`config.json`, `model.safetensors`, the tokeniser's files); `hf://owner/name`,
            which fetches such a folder; a keras-nlp preset handle; or a folder that `TextEncoder.save_folder` or a
            stage wrote. None starts from random weights.
        files: the tokeniser's files, name to content, of an encoder that starts from random weights.
        dtype: policy of the backbone.

    Raises:
        ValueError: an unknown name, weights of another architecture or size, or tensors that do not fit, by name.
        FileNotFoundError: a file is missing.
    """
    family, size = family_of(name, TEXT_FAMILIES, TEXT_ENCODERS, weights)
    if weights is None:
        start = _from_nothing(name, size or {}, files, length)
    else:
        weights = download(weights)
        start = _STARTS[kind_of(weights)](weights, family)
        check_size(name, size, start.arguments, weights)
    try:
        tokenizer = TEXT_FAMILIES[family].tokenizer(start.files)
    except FileNotFoundError as error:
        place = f"Add it to {weights}." if weights else "`weights` must be a folder that has it."
        raise FileNotFoundError(f"{name}: {error} {place}") from error
    arguments = {"vocabulary_size": tokenizer.vocabulary_size} | start.arguments
    encoder = TextEncoder(family, arguments, tokenizer, length=length, dim=dim, dtype=dtype)
    start.fill(encoder)
    return encoder


class _Start(NamedTuple):
    """Where an encoder starts from."""

    arguments: Arguments
    files: Mapping[str, bytes]
    fill: Callable[[TextEncoder], None]


def _from_nothing(name: str, size: Arguments, files: Mapping[str, bytes] | None, length: int) -> _Start:
    if not files:
        raise ValueError(f"`files`, the tokeniser's, must be given with {name} where it starts from random weights.")
    return _Start({"max_sequence_length": length} | size, files, lambda encoder: None)


def _from_checkpoint(weights: str | Path, family: str) -> _Start:
    folder = Path(weights)
    layout, config = read_checkpoint(folder, family, TEXT_FAMILIES[family])
    arguments = checkpoint_arguments(layout, config, folder)
    return _Start(
        arguments,
        tokenizer_files(folder),
        lambda encoder: layout.load(encoder.backbone, arguments, TensorFiles(folder), {}),
    )


def _from_encoder(weights: str | Path, family: str) -> _Start:
    saved = TextEncoder.load_folder(Path(weights))
    if saved.family != family:
        raise ValueError(f"`weights` must be of a {family} encoder. In {weights}: {saved.family}.")

    def fill(encoder: TextEncoder) -> None:
        copy_weights(saved.backbone, encoder.backbone, {})
        if encoder.projection and saved.projection and encoder.dim == saved.dim:
            encoder.projection.set_weights(saved.projection.get_weights())

    return _Start(saved.arguments, saved.tokenizer.files, fill)


def _from_preset(weights: str | Path, family: str) -> _Start:
    preset = TEXT_FAMILIES[family].preset
    if preset is None:
        raise ValueError(f"`weights` must be a folder with {family}, of which keras-nlp has no presets.")
    backbone = from_preset(preset.backbone, str(weights))
    files = from_preset(preset.files, str(weights))
    return _Start(preset.arguments(backbone), files, lambda encoder: copy_weights(backbone, encoder.backbone, {}))


_STARTS = {Kind.CHECKPOINT: _from_checkpoint, Kind.ENCODER: _from_encoder, Kind.PRESET: _from_preset}
