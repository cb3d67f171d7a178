"""Qwen3: its published sizes, its presets, and what of a checkpoint it refuses."""

from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import text_encoder
from mim_tf.encoders.text.qwen3 import QWEN3
from tests.encoders.toys import byte_pair_vocabulary

CONFIG = {
    "model_type": "qwen3",
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "layer_types": ["full_attention"],
}
END = "<|endoftext|>"


@pytest.mark.parametrize(("name", "parameters"), [("qwen3_600m", 596_049_920), ("qwen3_1700m", 1_720_574_976)])
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    size = QWEN3.sizes[name]
    model = QWEN3.build(dtype="float32", vocabulary_size=1, **size | {"num_layers": 1})
    (layer,) = QWEN3.blocks(model)  # the others are the same
    others = (size["num_layers"] - 1) * layer.count_params() + 151_935 * size["hidden_dim"]
    assert model.count_params() + others == parameters


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "gelu"}, r"`hidden_act` must be silu\. Received: 'gelu'"),
        ({"attention_bias": True}, r"`attention_bias` must be False"),
        ({"use_sliding_window": True}, r"`use_sliding_window` must be False"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, r"`layer_types` must .*Received: sliding_attention"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, r"`rope_type` must be default or linear\..*'yarn'"),
    ],
)
def test_a_config_that_it_cannot_honour_is_refused(changed: dict[str, Any], message: str) -> None:
    (layout,) = QWEN3.layouts
    with pytest.raises(ValueError, match=message):
        layout.arguments(CONFIG | changed)


def test_a_preset_is_loaded_with_its_tokeniser_and_its_window(tmp_path: Path) -> None:
    vocabulary, merges = byte_pair_vocabulary(END, "<|im_end|>")
    tokenizer = keras_nlp.models.Qwen3Tokenizer(vocabulary, merges)
    backbone = keras_nlp.models.Qwen3Backbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        hidden_dim=8,
        intermediate_dim=16,
        sliding_window_size=2,
    )
    backbone.save_to_preset(tmp_path)
    tokenizer.save_to_preset(tmp_path)
    encoder = text_encoder("qwen3", dim=None, length=8, weights=tmp_path)
    token_ids = encoder.tokenize(tf.constant(["red"]))
    assert token_ids.numpy().tolist() == [[vocabulary["re"], vocabulary["d"], *[vocabulary[END]] * 6]]
    expected = backbone({"token_ids": token_ids, "padding_mask": encoder.tokenizer.mask(token_ids)})
    # keras-nlp's norms of queries and keys have another epsilon than Qwen3's
    np.testing.assert_allclose(encoder(token_ids), expected[:, 2], rtol=1e-2, atol=1e-2)
