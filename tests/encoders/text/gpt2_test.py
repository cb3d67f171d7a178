"""GPT-2: its published sizes, its presets, and what of a checkpoint it refuses."""

from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import text_encoder
from mim_tf.encoders.text.gpt2 import GPT2
from tests.encoders.toys import byte_pair_vocabulary, tokenizer_files

CONFIG = {"model_type": "gpt2", "vocab_size": 300, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
END = "<|endoftext|>"


@pytest.mark.parametrize(
    ("name", "parameters"),  # as OpenAI's checkpoints have them, of 50,257 tokens and 1,024 positions
    [("gpt2_base", 124_439_808), ("gpt2_medium", 354_823_168), ("gpt2_large", 774_030_080)],
)
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    size = GPT2.sizes[name]
    model = GPT2.build(dtype="float32", vocabulary_size=1, max_sequence_length=1024, **size | {"num_layers": 1})
    (layer,) = GPT2.blocks(model)  # the others are the same
    others = (size["num_layers"] - 1) * layer.count_params() + 50_256 * size["hidden_dim"]
    assert model.count_params() + others == parameters


def test_a_title_is_seen_whole_and_padding_is_not() -> None:
    encoder = text_encoder("gpt2_toy", dim=None, length=16, files=tokenizer_files("gpt2"))
    token_ids = encoder.tokenize(tf.constant(["red dress", "sed dress"]))
    embeddings = encoder(token_ids)
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3
    np.testing.assert_allclose(encoder(token_ids[:, :10]), embeddings, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation_function": "relu"}, r"`activation_function` must be gelu_new or .*Received: 'relu'"),
        ({"layer_norm_epsilon": 1e-6}, r"`layer_norm_epsilon` must be 1e-05\. Received: 1e-06"),
        ({"scale_attn_weights": False}, r"`scale_attn_weights` must be True\. Received: False"),
        ({"scale_attn_by_inverse_layer_idx": True}, r"`scale_attn_by_inverse_layer_idx` must be False"),
        ({"add_cross_attention": True}, r"`add_cross_attention` must be False"),
    ],
)
def test_a_config_that_it_cannot_honour_is_refused(changed: dict[str, Any], message: str) -> None:
    (layout,) = GPT2.layouts
    assert layout.arguments(CONFIG)["intermediate_dim"] == 32  # four times as wide where nothing is said
    with pytest.raises(ValueError, match=message):
        layout.arguments(CONFIG | changed)


def test_a_preset_is_loaded_with_its_tokeniser(tmp_path: Path) -> None:
    vocabulary, merges = byte_pair_vocabulary(END)
    tokenizer = keras_nlp.models.GPT2Tokenizer(vocabulary, merges)
    backbone = keras_nlp.models.GPT2Backbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    )
    backbone.save_to_preset(tmp_path)
    tokenizer.save_to_preset(tmp_path)
    encoder = text_encoder("gpt2", dim=None, length=8, weights=tmp_path)
    token_ids = encoder.tokenize(tf.constant(["red"]))
    assert token_ids.numpy().tolist() == [[vocabulary["re"], vocabulary["d"], *[vocabulary[END]] * 6]]
    expected = backbone({"token_ids": token_ids, "padding_mask": encoder.tokenizer.mask(token_ids)})
    np.testing.assert_allclose(encoder(token_ids), expected[:, 2], rtol=1e-4, atol=1e-5)
