"""Llama 3: keras-nlp's backbone, loaded from transformers' checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, require
from mim_tf.encoders.family import Arguments, TextFamily, TextPreset
from mim_tf.encoders.text.causal import blocks, pooled, rotary, token_embedding
from mim_tf.encoders.tokenizers import LLAMA3_WORDS, BytePair, WordRules, byte_pair_files

_BUILT_IN = {"attention_bias": (False,), "hidden_act": ("silu",), "mlp_bias": (False,)}
_ROPE = "rope_frequency_adjustment_factor", "rope_low_freq_factor", "rope_high_freq_factor"
_TRAINED_LENGTH = "rope_pretraining_sequence_length"


def build(*, dtype: str, pooling: str, max_sequence_length: int | None = None, **arguments: Any) -> keras.Model:
    """Llama 3 without its language head. Rotary positions have no table: no length is built in, only known.

    Reference: Grattafiori et al., The Llama 3 Herd of Models (arXiv 2407.21783); the end token, which is the last one,
    for the whole text: Ma et al., Fine-Tuning LLaMA for Multi-Stage Text Retrieval (arXiv 2310.08319).
    """
    backbone = keras_nlp.models.Llama3Backbone(dtype=dtype, tie_word_embeddings=True, name="llama", **arguments)
    return pooled(backbone, pooling, dtype)


def _scaled(factor: float, low: float, high: float, length: int) -> Arguments:
    return dict(zip((*_ROPE, _TRAINED_LENGTH), (factor, low, high, length), strict=True))


def _size(num_layers: int, heads: tuple[int, int], hidden_dim: int, intermediate_dim: int, **rope: float) -> Arguments:
    return {
        "num_layers": num_layers,
        "num_query_heads": heads[0],
        "num_key_value_heads": heads[1],
        "hidden_dim": hidden_dim,
        "intermediate_dim": intermediate_dim,
        "layer_norm_epsilon": 1e-5,
        "rope_max_wavelength": 500_000.0,
        "pooling": "last",
        **rope,
    }


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    heads = config["num_attention_heads"]
    require(config, {**_BUILT_IN, "head_dim": (None, config["hidden_size"] // heads)})
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_query_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "max_sequence_length": config["max_position_embeddings"],
        "pooling": config.get("pooling", "last"),
        **_rotary_arguments(rotary(config, ("default", "linear", "llama3")), config["max_position_embeddings"]),
    }


def _rotary_arguments(rope: Mapping[str, Any], longest: int) -> Arguments:
    arguments = {"rope_max_wavelength": float(rope["rope_theta"])}
    if rope["rope_type"] == "llama3":
        length = rope.get("original_max_position_embeddings", longest)
        return arguments | _scaled(rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"], length)
    if rope["rope_type"] == "linear":
        # keras-nlp takes a factor for all frequencies and forgets it. Llama 3's scaling, which divides those whose
        # wavelength exceeds length / low, comes to the same for a length of one: the shortest wavelength is 2 pi.
        return arguments | _scaled(rope["factor"], 1.0, 4.0, 1)
    return arguments


def sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    """Where a `Layout` finds the weights, but for those that Llama has not."""
    found: dict[str, str | Source] = {"token_embedding": "embed_tokens", "sequence_output_layernorm": "norm"}
    for index in range(arguments["num_layers"]):
        ours, theirs = f"transformer_layer_{index}", f"layers.{index}"
        found |= {
            f"{ours}/self_attention_layernorm": f"{theirs}.input_layernorm",
            f"{ours}/self_attention/query": f"{theirs}.self_attn.q_proj",
            f"{ours}/self_attention/key": f"{theirs}.self_attn.k_proj",
            f"{ours}/self_attention/value": f"{theirs}.self_attn.v_proj",
            f"{ours}/self_attention/attention_output": f"{theirs}.self_attn.o_proj",
            f"{ours}/feedforward_layernorm": f"{theirs}.post_attention_layernorm",
            f"{ours}/feedforward_gate_dense": f"{theirs}.mlp.gate_proj",
            f"{ours}/feedforward_intermediate_dense": f"{theirs}.mlp.up_proj",
            f"{ours}/feedforward_output_dense": f"{theirs}.mlp.down_proj",
        }
    return found


_KEPT = (
    *("vocabulary_size", "num_layers", "num_query_heads", "num_key_value_heads", "hidden_dim", "intermediate_dim"),
    *("layer_norm_epsilon", "rope_max_wavelength", *_ROPE, _TRAINED_LENGTH),
)


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT} | {"pooling": "last"}


def _preset_files(handle: str) -> Mapping[str, bytes]:
    tokenizer = keras_nlp.models.Llama3Tokenizer.from_preset(handle)
    return byte_pair_files(tokenizer.vocabulary, tokenizer.merges)


LLAMA = TextFamily(
    build=build,
    sizes={
        "llama_toy": _size(1, (2, 1), 32, 64),
        # 3.2; the sizes of 3.0 and 3.1 share their names and not their positions: `name: llama` asks the checkpoint.
        "llama3_1b": _size(16, (32, 8), 2048, 8192, **_scaled(32.0, 1.0, 4.0, 8192)),
        "llama3_3b": _size(28, (24, 8), 3072, 8192, **_scaled(32.0, 1.0, 4.0, 8192)),
    },
    blocks=blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "llama",
            arguments=_from_transformers,
            sources=sources,
            prefixes=("", "model."),
            unused=(r"lm_head\..*", r"score\..*"),
        ),
    ),
    tokenizer=partial(
        BytePair,
        rules=WordRules(LLAMA3_WORDS, whole_words=True),
        begin="<|begin_of_text|>",
        end="<|end_of_text|>",
    ),
    token_embedding=token_embedding,
    causal=True,
    preset=TextPreset(keras_nlp.models.Llama3Backbone.from_preset, _preset_arguments, _preset_files),
)
