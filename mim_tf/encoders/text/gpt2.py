"""GPT-2: keras-nlp's backbone, loaded from transformers' checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, part, require
from mim_tf.encoders.family import Arguments, TextFamily, TextPreset
from mim_tf.encoders.text.causal import blocks, pooled, token_embedding
from mim_tf.encoders.tokenizers import GPT2_WORDS, BytePair, WordRules, byte_files, byte_pair_files

_END = "<|endoftext|>"
_BUILT_IN = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "add_cross_attention": (False,),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
}


def build(*, dtype: str, pooling: str, **arguments: Any) -> keras.Model:
    """GPT-2 without its language head.

    Reference: Radford et al., Language Models are Unsupervised Multitask Learners (2019); the end token, which is the
    last one, for the whole text: Neelakantan et al., Text and Code Embeddings by Contrastive Pre-Training
    (arXiv 2201.10005).
    """
    backbone = keras_nlp.models.GPT2Backbone(dtype=dtype, dropout=0.0, name="gpt2", **arguments)
    return pooled(backbone, pooling, dtype)


def _size(num_layers: int, num_heads: int, hidden_dim: int) -> Arguments:
    return {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
        "pooling": "last",
    }


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require(config, _BUILT_IN)
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": config["n_layer"],
        "num_heads": config["n_head"],
        "hidden_dim": config["n_embd"],
        "intermediate_dim": config.get("n_inner") or 4 * config["n_embd"],
        "max_sequence_length": config["n_positions"],
        "pooling": config.get("pooling", "last"),
    }


def _sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "token_embedding": "wte",
        "position_embedding": "wpe",
        "layer_norm": "ln_f",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"transformer_layer_{index}", f"h.{index}"
        sources |= {
            f"{ours}/self_attention_layer_norm": f"{theirs}.ln_1",
            f"{ours}/self_attention/query": part(f"{theirs}.attn.c_attn", 0, 3),
            f"{ours}/self_attention/key": part(f"{theirs}.attn.c_attn", 1, 3),
            f"{ours}/self_attention/value": part(f"{theirs}.attn.c_attn", 2, 3),
            f"{ours}/self_attention/attention_output": f"{theirs}.attn.c_proj",
            f"{ours}/feedforward_layer_norm": f"{theirs}.ln_2",
            f"{ours}/feedforward_intermediate_dense": f"{theirs}.mlp.c_fc",
            f"{ours}/feedforward_output_dense": f"{theirs}.mlp.c_proj",
        }
    return sources


_KEPT = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT} | {"pooling": "last"}


def _preset_files(handle: str) -> Mapping[str, bytes]:
    tokenizer = keras_nlp.models.GPT2Tokenizer.from_preset(handle)
    return byte_pair_files(tokenizer.vocabulary, tokenizer.merges)


GPT2 = TextFamily(
    build=build,
    sizes={
        "gpt2_toy": _size(1, 2, 32),
        "gpt2_mini": _size(4, 4, 256),
        "gpt2_base": _size(12, 12, 768),
        "gpt2_medium": _size(24, 16, 1024),
        "gpt2_large": _size(36, 20, 1280),
        "gpt2_xl": _size(48, 25, 1600),
    },
    blocks=blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "gpt2",
            arguments=_from_transformers,
            sources=_sources,
            prefixes=("", "transformer."),
            unused=(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias", r"lm_head\..*", r"score\..*"),
            transposed=False,
        ),
    ),
    tokenizer=partial(BytePair, rules=WordRules(GPT2_WORDS), end=_END),
    token_embedding=token_embedding,
    causal=True,
    first_files=lambda pieces: byte_files(_END),  # no byte pairs: it reads byte by byte
    preset=TextPreset(keras_nlp.models.GPT2Backbone.from_preset, _preset_arguments, _preset_files),
)
