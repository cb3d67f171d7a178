"""XLM-RoBERTa: keras-nlp's backbone, loaded from transformers' checkpoints. BGE-M3 and multilingual E5 are such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_nlp
import numpy as np

from mim_tf.encoders.checkpoints import Layout, Source, computed, require
from mim_tf.encoders.family import Arguments, TextFamily, TextPreset
from mim_tf.encoders.text.bert import layer_sources
from mim_tf.encoders.text.pooling import Pooling
from mim_tf.encoders.tokenizers import SentencePiece

_UNUSED_POSITIONS = 2  # fairseq counts from the padding's token id + 1


def build(*, dtype: str, pooling: str, **arguments: Any) -> keras.Model:
    """XLM-RoBERTa without heads.

    Reference: Conneau et al., Unsupervised Cross-lingual Representation Learning at Scale (arXiv 1911.02116); the first
    token, <s>, is what its classification head in fairseq takes, and so does Chen et al., M3-Embedding (arXiv
    2402.03216); mean pooling: Wang et al., Multilingual E5 (arXiv 2402.05672).
    """
    xlm_roberta = keras_nlp.models.XLMRobertaBackbone(dtype=dtype, dropout=0.0, name="xlm_roberta", **arguments)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="bool", name="padding_mask")
    tokens = xlm_roberta({"token_ids": token_ids, "padding_mask": mask})
    outputs = {"sequence": tokens, "pooled": Pooling(pooling, dtype=dtype, name="pooling")(tokens, mask)}
    return keras.Model({"token_ids": token_ids, "padding_mask": mask}, outputs, name="xlm_roberta")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return model.get_layer("xlm_roberta").transformer_layers


def _size(num_layers: int, num_heads: int, hidden_dim: int) -> Arguments:
    return {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
        "pooling": "first",
    }


# What keras-nlp has no argument for.
_BUILT_IN = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
}


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require({"layer_norm_eps": 1e-12, **config}, _BUILT_IN)  # transformers' default
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "max_sequence_length": config["max_position_embeddings"] - _UNUSED_POSITIONS,
        "pooling": config.get("pooling", "first"),
    }


def _positions(positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """As keras-nlp has them: counted from zero, and with the one type that all tokens have added."""
    return positions[_UNUSED_POSITIONS:] + types[0]


def _sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    return layer_sources(arguments["num_layers"]) | {
        "embeddings/token_embedding": "embeddings.word_embeddings",
        "embeddings/position_embedding/embeddings": computed(
            _positions, "embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"
        ),
        "embeddings_layer_norm": "embeddings.LayerNorm",
    }


_KEPT = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT} | {"pooling": "first"}


def _preset_files(handle: str) -> Mapping[str, bytes]:
    return {"sentencepiece.bpe.model": keras_nlp.models.XLMRobertaTokenizer.from_preset(handle).proto}


XLM_ROBERTA = TextFamily(
    build=build,
    sizes={
        "xlm_roberta_toy": _size(1, 2, 32),
        "xlm_roberta_base": _size(12, 12, 768),
        "xlm_roberta_large": _size(24, 16, 1024),
    },
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "xlm-roberta",
            arguments=_from_transformers,
            sources=_sources,
            prefixes=("", "roberta."),
            unused=(r"(roberta\.)?pooler\..*", r"lm_head\..*", r"classifier\..*"),
        ),
    ),
    tokenizer=SentencePiece,
    token_embedding=lambda model: model.get_layer("xlm_roberta").embeddings.token_embedding.embeddings,
    # A preset does not say how it is pooled: E5, which pools the mean, is for its transformers folder, which does.
    preset=TextPreset(keras_nlp.models.XLMRobertaBackbone.from_preset, _preset_arguments, _preset_files),
)
