"""Llama 3: its published sizes, its positions, its presets, and what of a checkpoint it refuses."""

from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import text_encoder
from mim_tf.encoders.text.llama import LLAMA
from tests.encoders.toys import byte_pair_vocabulary

CONFIG = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100.0,
}
BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"


def test_the_smallest_size_is_the_published_one() -> None:
    size = LLAMA.sizes["llama3_1b"]
    model = LLAMA.build(dtype="float32", vocabulary_size=1, **size | {"num_layers": 1})
    (layer,) = LLAMA.blocks(model)  # the others are the same
    others = (size["num_layers"] - 1) * layer.count_params() + 128_255 * size["hidden_dim"]
    assert model.count_params() + others == 1_235_814_400  # of Llama 3.2 1B


@pytest.mark.parametrize(
    ("rope", "slower"),
    [
        ({}, 1),
        ({"rope_scaling": None}, 1),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 4),
        ({"rope_theta": 7.0, "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}}, 4),
    ],
)
def test_positions_are_read_from_old_and_new_files(rope: dict[str, Any], slower: float) -> None:
    (layout,) = LLAMA.layouts
    arguments = layout.arguments(CONFIG | rope)
    (layer,) = LLAMA.blocks(LLAMA.build(dtype="float32", **arguments))
    frequencies = layer._self_attention_layer.rotary_embedding_layer._get_inverse_freq(8)
    np.testing.assert_allclose(frequencies, 100.0 ** -np.array([0, 0.25, 0.5, 0.75]) / slower, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "gelu"}, r"`hidden_act` must be silu\. Received: 'gelu'"),
        ({"attention_bias": True}, r"`attention_bias` must be False"),
        ({"mlp_bias": True}, r"`mlp_bias` must be False"),
        ({"head_dim": 16}, r"`head_dim` must be None or 8\. Received: 16"),
        ({"rope_scaling": {"rope_type": "yarn", "beta_fast": 32}}, r"`rope_type` must be default or linear or llama3"),
        (
            {"rope_parameters": {"full_attention": {}}},
            r"`rope_parameters` must have no keys but .*'full_attention'",
        ),
        ({"partial_rotary_factor": 0.5}, r"`partial_rotary_factor` must be None or 1\.0\. Received: 0\.5"),
    ],
)
def test_a_config_that_it_cannot_honour_is_refused(changed: dict[str, Any], message: str) -> None:
    (layout,) = LLAMA.layouts
    with pytest.raises(ValueError, match=message):
        layout.arguments(CONFIG | changed)


def test_a_preset_is_loaded_with_its_tokeniser(tmp_path: Path) -> None:
    vocabulary, merges = byte_pair_vocabulary(BEGIN, END, "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
    tokenizer = keras_nlp.models.Llama3Tokenizer(vocabulary, merges)
    backbone = keras_nlp.models.Llama3Backbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
        rope_max_wavelength=100.0,
    )
    backbone.save_to_preset(tmp_path)
    tokenizer.save_to_preset(tmp_path)
    encoder = text_encoder("llama", dim=None, length=8, weights=tmp_path)
    token_ids = encoder.tokenize(tf.constant(["red"]))
    framed = [vocabulary[piece] for piece in (BEGIN, "re", "d", END)]
    assert token_ids.numpy().tolist() == [[*framed, *framed[-1:] * 4]]
    expected = backbone({"token_ids": token_ids, "padding_mask": encoder.tokenizer.mask(token_ids)})
    np.testing.assert_allclose(encoder(token_ids), expected[:, 3], rtol=1e-4, atol=1e-5)
