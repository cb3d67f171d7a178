"""Qwen3: keras-nlp's backbone, loaded from transformers' checkpoints. Qwen3-Embedding is Qwen3 trained to embed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, require
from mim_tf.encoders.family import Arguments, TextFamily, TextPreset
from mim_tf.encoders.text import llama
from mim_tf.encoders.text.causal import blocks, pooled, rotary, token_embedding
from mim_tf.encoders.tokenizers import QWEN_WORDS, BytePair, WordRules, byte_pair_files

_BUILT_IN = {"attention_bias": (False,), "hidden_act": ("silu",), "use_sliding_window": (False,)}


def build(
    *,
    dtype: str,
    pooling: str,
    layer_norm_epsilon: float,
    max_sequence_length: int | None = None,
    sliding_window_size: int | None = None,
    **arguments: Any,
) -> keras.Model:
    """Qwen3 without its language head. Rotary positions have no table: no length is built in, only known.

    Reference: Yang et al., Qwen3 Technical Report (arXiv 2505.09388); the end token, which is the last one, for the
    whole text: Zhang et al., Qwen3 Embedding (arXiv 2506.05176).
    """
    backbone = keras_nlp.models.Qwen3Backbone(
        dtype=dtype,
        layer_norm_epsilon=layer_norm_epsilon,
        sliding_window_size=sliding_window_size,
        name="qwen3",
        **arguments,
    )
    for layer in backbone.transformer_layers:  # keras-nlp hands these two norms no epsilon: they would have 1e-5
        layer._self_attention_layer._query_dense_layer_norm.epsilon = layer_norm_epsilon
        layer._self_attention_layer._key_dense_layer_norm.epsilon = layer_norm_epsilon
    return pooled(backbone, pooling, dtype)


def _size(num_layers: int, num_query_heads: int, head_dim: int, hidden_dim: int, intermediate_dim: int) -> Arguments:
    return {
        "num_layers": num_layers,
        "num_query_heads": num_query_heads,
        "num_key_value_heads": min(num_query_heads, 8),
        "head_dim": head_dim,
        "hidden_dim": hidden_dim,
        "intermediate_dim": intermediate_dim,
        "layer_norm_epsilon": 1e-6,
        "rope_max_wavelength": 1_000_000.0,
        "pooling": "last",
    }


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require(config, _BUILT_IN)
    attention = set(config.get("layer_types") or ()) - {"full_attention"}
    if attention:
        raise ValueError(f"`layer_types` must be full_attention throughout. Received: {', '.join(sorted(attention))}.")
    rope = rotary(config, ("default", "linear"))
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_query_heads": config["num_attention_heads"],
        "num_key_value_heads": config["num_key_value_heads"],
        "head_dim": config["head_dim"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "max_sequence_length": config["max_position_embeddings"],
        "rope_max_wavelength": float(rope["rope_theta"]),
        "rope_scaling_factor": rope["factor"] if rope["rope_type"] == "linear" else 1.0,
        "pooling": config.get("pooling", "last"),
    }


def _sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    norms: dict[str, str | Source] = {}
    for index in range(arguments["num_layers"]):
        ours, theirs = f"transformer_layer_{index}/self_attention", f"layers.{index}.self_attn"
        norms |= {
            f"{ours}/query_dense_layernorm": f"{theirs}.q_norm",
            f"{ours}/key_dense_layernorm": f"{theirs}.k_norm",
        }
    return llama.sources(arguments) | norms


_KEPT = (
    *("vocabulary_size", "num_layers", "num_query_heads", "num_key_value_heads", "head_dim", "hidden_dim"),
    *("intermediate_dim", "layer_norm_epsilon", "rope_max_wavelength", "rope_scaling_factor", "sliding_window_size"),
)


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT} | {"pooling": "last"}


def _preset_files(handle: str) -> Mapping[str, bytes]:
    tokenizer = keras_nlp.models.Qwen3Tokenizer.from_preset(handle)
    return byte_pair_files(tokenizer.vocabulary, tokenizer.merges)


QWEN3 = TextFamily(
    build=build,
    sizes={
        "qwen3_toy": _size(1, 2, 16, 32, 64),
        "qwen3_600m": _size(28, 16, 128, 1024, 3072),
        "qwen3_1700m": _size(28, 16, 128, 2048, 6144),
        "qwen3_4b": _size(36, 32, 128, 2560, 9728),
        "qwen3_8b": _size(36, 32, 128, 4096, 12288),
    },
    blocks=blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "qwen3",
            arguments=_from_transformers,
            sources=_sources,
            prefixes=("", "model."),
            unused=(r"lm_head\..*", r"score\..*"),
        ),
    ),
    tokenizer=partial(BytePair, rules=WordRules(QWEN_WORDS, composed=True), end="<|endoftext|>"),
    token_embedding=token_embedding,
    causal=True,
    preset=TextPreset(keras_nlp.models.Qwen3Backbone.from_preset, _preset_arguments, _preset_files),
)
