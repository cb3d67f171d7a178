"""BERT and BGE: keras-nlp's backbone, loaded from transformers' checkpoints. BGE is BERT trained to embed sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import keras_nlp
from keras import ops

from mim_tf.encoders.checkpoints import Layout, Source, require
from mim_tf.encoders.family import Arguments, TextFamily, TextPreset
from mim_tf.encoders.text.pooling import Pooling
from mim_tf.encoders.tokenizers import WordPiece, vocabulary_files


def build(*, dtype: str, pooling: str, **arguments: Any) -> keras.Model:
    """BERT without its pooler, a dense layer on [CLS] for predicting the next sentence.

    Reference: Devlin et al., BERT (arXiv 1810.04805); mean pooling: Reimers & Gurevych, Sentence-BERT (arXiv
    1908.10084); the first token: Xiao et al., C-Pack (arXiv 2309.07597), which is BGE.
    """
    bert = keras_nlp.models.BertBackbone(dtype=dtype, dropout=0.0, **arguments)
    for layer in _layers(bert):  # keras-nlp approximates by tanh what BERT and all its checkpoints have exactly
        layer._feedforward_intermediate_dense.activation = keras.activations.gelu
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="bool", name="padding_mask")
    # The pooler is cut off before the model is called, so that its weights belong to nobody.
    tokens = keras.Model(bert.input, bert.output["sequence_output"], name="bert")(
        {"token_ids": token_ids, "padding_mask": mask, "segment_ids": ops.zeros_like(token_ids)}
    )
    outputs = {"sequence": tokens, "pooled": Pooling(pooling, dtype=dtype, name="pooling")(tokens, mask)}
    return keras.Model({"token_ids": token_ids, "padding_mask": mask}, outputs, name="bert")


def _layers(bert: keras.Model) -> Sequence[keras.Layer]:
    return [layer for layer in bert.layers if layer.name.startswith("transformer_layer_")]


def _size(num_layers: int, num_heads: int, hidden_dim: int, pooling: str) -> Arguments:
    return {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
        "pooling": pooling,
    }


# What keras-nlp has no argument for.
_BUILT_IN = {"hidden_act": "gelu", "is_decoder": False, "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}


def _from_transformers(config: Mapping[str, Any], pooling: str) -> Arguments:
    require(config, _BUILT_IN)
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "max_sequence_length": config["max_position_embeddings"],
        "num_segments": config["type_vocab_size"],
        "pooling": config.get("pooling", pooling),
    }


def _sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    return layer_sources(arguments["num_layers"]) | {
        "token_embedding": "embeddings.word_embeddings",
        "position_embedding/embeddings": "embeddings.position_embeddings.weight",
        "segment_embedding": "embeddings.token_type_embeddings",
        "embeddings_layer_norm": "embeddings.LayerNorm",
    }


def layer_sources(num_layers: int) -> dict[str, str | Source]:
    """Where a `Layout` finds the transformer layers, which XLM-RoBERTa names alike."""
    sources: dict[str, str | Source] = {}
    for index in range(num_layers):
        ours, theirs = f"transformer_layer_{index}", f"encoder.layer.{index}"
        sources |= {
            f"{ours}/self_attention_layer/query": f"{theirs}.attention.self.query",
            f"{ours}/self_attention_layer/key": f"{theirs}.attention.self.key",
            f"{ours}/self_attention_layer/value": f"{theirs}.attention.self.value",
            f"{ours}/self_attention_layer/attention_output": f"{theirs}.attention.output.dense",
            f"{ours}/self_attention_layer_norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}/feedforward_intermediate_dense": f"{theirs}.intermediate.dense",
            f"{ours}/feedforward_output_dense": f"{theirs}.output.dense",
            f"{ours}/feedforward_layer_norm": f"{theirs}.output.LayerNorm",
        }
    return sources


def _layout(pooling: str) -> Layout:
    return Layout(
        library="transformers",
        recognises=lambda config: config.get("model_type") == "bert",
        arguments=lambda config: _from_transformers(config, pooling),
        sources=_sources,
        prefixes=("", "bert."),
        unused=(r"(bert\.)?pooler\..*", r"cls\..*", r"classifier\..*"),
    )


_KEPT = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


def _preset_arguments(backbone: keras.Model, pooling: str) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in (*_KEPT, "num_segments")} | {"pooling": pooling}


def _preset_files(handle: str) -> Mapping[str, bytes]:
    tokenizer = keras_nlp.models.BertTokenizer.from_preset(handle)
    return vocabulary_files(tokenizer.get_vocabulary(), lowercase=tokenizer.lowercase)


def _preset(pooling: str) -> TextPreset:
    return TextPreset(
        backbone=keras_nlp.models.BertBackbone.from_preset,
        arguments=lambda backbone: _preset_arguments(backbone, pooling),
        files=_preset_files,
    )


BERT = TextFamily(
    build=build,
    sizes={
        "bert_toy": _size(1, 2, 32, "mean"),
        # Turc et al., Well-Read Students Learn Better (arXiv 1908.08962)
        "bert_tiny": _size(2, 2, 128, "mean"),
        "bert_mini": _size(4, 4, 256, "mean"),
        "bert_small": _size(4, 8, 512, "mean"),
        "bert_medium": _size(8, 8, 512, "mean"),
        "bert_base": _size(12, 12, 768, "mean"),
        "bert_large": _size(24, 16, 1024, "mean"),
    },
    blocks=lambda model: _layers(model.get_layer("bert")),
    layouts=(_layout("mean"),),
    tokenizer=WordPiece,
    token_embedding=lambda model: model.get_layer("bert").get_layer("token_embedding").embeddings,
    preset=_preset("mean"),
)
BGE = replace(
    BERT,
    sizes={
        "bge_toy": _size(1, 2, 32, "first"),
        "bge_small": _size(12, 12, 384, "first"),
        "bge_base": _size(12, 12, 768, "first"),
        "bge_large": _size(24, 16, 1024, "first"),
        "bge_small_zh": _size(4, 8, 512, "first"),
        "bge_base_zh": _size(12, 12, 768, "first"),
        "bge_large_zh": _size(24, 16, 1024, "first"),
    },
    layouts=(_layout("first"),),
    preset=_preset("first"),
)
