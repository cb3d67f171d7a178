"""F_L: titles to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

# Architectures by name: the arguments of `keras_nlp.models.BertBackbone` apart from the vocabulary's size.
# `bert` has none of its own: its size, weights and vocabulary come from a folder.
TEXT_ENCODERS: dict[str, dict[str, Any] | None] = {
    "bert": None,
    "bert_nano": {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64},
    "bert_tiny": {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 256},
    "bert_small": {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 512},
}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TextEncoder(keras.Model):
    """A BERT encoder, mean pooling and a projection: `h_txt = W F_L(title)`, equation (2).

    Args:
        backbone: a `keras_nlp.models.BertBackbone`.
        tokenizer: the `BertTokenizer` that belongs to it.
        length: tokens per title, special ones included; longer titles are cut off.
        dim: dimension of the embedding.
        trainable_backbone: whether the backbone learns; the projection always does.

    Call arguments:
        token_ids: `[batch, length]` int32, as `tokenize` makes them.

    Returns:
        `[batch, dim]`, not normalised.

    Reference: Devlin et al., BERT (arXiv 1810.04805); mean pooling: Reimers & Gurevych (arXiv 1908.10084).
    """

    def __init__(self, backbone: Any, tokenizer: Any, length: int, dim: int, trainable_backbone: bool = True):
        longest = backbone.max_sequence_length
        if length > longest:
            raise ValueError(
                f"`length` must be at most {longest}, the backbone's longest sequence. Received: {length}."
            )
        super().__init__(name="text_encoder")
        # Without the backbone's pooler, a dense layer on [CLS] that mean pooling has no use for.
        self.backbone = keras.Model(backbone.input, backbone.output["sequence_output"], name="backbone")
        self.backbone.trainable = trainable_backbone
        self.packer = keras_nlp.layers.StartEndPacker(
            sequence_length=length,
            start_value=tokenizer.cls_token_id,
            end_value=tokenizer.sep_token_id,
            pad_value=tokenizer.pad_token_id,
        )
        self.tokenizer = tokenizer
        self.projection = keras.layers.Dense(dim, name="projection")
        self.projection.build((None, backbone.hidden_dim))
        self.built = True

    def tokenize(self, titles: tf.Tensor) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32 token ids, [CLS] first, [SEP] last, padded with [PAD]."""
        return self.packer(self.tokenizer(titles))

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed a batch of tokenised titles."""
        mask = tf.not_equal(token_ids, self.tokenizer.pad_token_id)
        inputs = {"token_ids": token_ids, "padding_mask": mask, "segment_ids": tf.zeros_like(token_ids)}
        tokens = self.backbone(inputs, training=training and self.backbone.trainable)  # [batch, length, hidden]
        weights = tf.cast(mask, tokens.dtype)[:, :, tf.newaxis]
        mean = tf.reduce_sum(tokens * weights, axis=1) / tf.reduce_sum(weights, axis=1)  # [CLS], [SEP]: never empty
        return self.projection(mean)


def text_encoder(
    name: str,
    *,
    length: int,
    dim: int,
    vocabulary: Sequence[str] | None = None,
    weights: str | Path | None = None,
    trainable: bool = True,
) -> TextEncoder:
    """A text encoder by name.

    Args:
        name: one of `TEXT_ENCODERS`.
        length: tokens per title.
        dim: dimension of the embedding.
        vocabulary: WordPiece vocabulary, special tokens included, of an encoder that starts from random weights.
        weights: Hugging Face folder with `config.json`, `model.safetensors` and `vocab.txt`; needed by `bert`.
        trainable: whether the backbone learns.

    Raises:
        ValueError: an unknown name, or weights or a vocabulary that the name does not go with.
        FileNotFoundError: the folder, or one of its files, is missing.
    """
    if name not in TEXT_ENCODERS:
        raise ValueError(f"`name` must be one of {', '.join(sorted(TEXT_ENCODERS))}. Received: {name!r}.")
    architecture = TEXT_ENCODERS[name]
    if architecture is None:
        backbone, tokenizer = _from_folder(name, weights)
    else:
        if weights is not None:
            raise ValueError(
                f"`weights` must be None with {name}: a folder's encoder is called bert. Received: {weights}."
            )
        if vocabulary is None:
            raise ValueError(f"`vocabulary` must be given with {name}, which starts from random weights.")
        tokenizer = keras_nlp.models.BertTokenizer(vocabulary=list(vocabulary), lowercase=True)
        backbone = keras_nlp.models.BertBackbone(
            vocabulary_size=len(vocabulary), max_sequence_length=length, dropout=0.0, **architecture
        )
    return TextEncoder(backbone, tokenizer, length=length, dim=dim, trainable_backbone=trainable)


def learn_vocabulary(titles: tf.data.Dataset, size: int = 8192) -> list[str]:
    """A WordPiece vocabulary of at most `size` pieces, learnt from a dataset of scalar title strings."""
    vocabulary: list[str] = keras_nlp.tokenizers.compute_word_piece_vocabulary(
        titles.batch(1024), vocabulary_size=size, reserved_tokens=list(SPECIAL_TOKENS), lowercase=True
    )
    return vocabulary


def _from_folder(name: str, weights: str | Path | None) -> tuple[Any, Any]:
    if weights is None:
        raise ValueError(f"`weights` must be a Hugging Face folder with {name}. Received: None.")
    missing = [
        file for file in ("config.json", "model.safetensors", "vocab.txt") if not (Path(weights) / file).is_file()
    ]
    if missing:
        raise FileNotFoundError(f"{weights} must hold {', '.join(missing)}: a BERT encoder in Hugging Face format.")
    backbone = keras_nlp.models.BertBackbone.from_preset(str(weights))
    return backbone, keras_nlp.models.BertTokenizer.from_preset(str(weights))
