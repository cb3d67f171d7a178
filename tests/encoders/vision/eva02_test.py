"""EVA-02: rotations and the gate against NumPy, its sizes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import vision_encoder
from mim_tf.encoders.vision.eva02_layers import EVA02Attention, EVA02SwiGLU
from mim_tf.encoders.vision.eva02_rotary import rotary_tables, rotate

HEAD = 8  # channels: for rows two pairs, that turn by 1 and 1/100 a place, and the same for columns


def test_pairs_of_channels_turn_by_row_and_column() -> None:
    channels = np.random.normal(size=(1 + 9, HEAD)).astype(np.float32)
    turned = rotate(tf.constant(channels), *rotary_tables(HEAD, grid=3, reference_grid=6))
    pairs, turned_pairs = (np.asarray(x)[:, 0::2] + 1j * np.asarray(x)[:, 1::2] for x in (channels, turned))
    np.testing.assert_allclose(turned_pairs[0], pairs[0])  # the class token has no place
    for patch in range(9):
        row, column = 2 * (patch // 3), 2 * (patch % 3)  # on the reference's grid, twice as fine
        angles = np.array([row, row / 100, column, column / 100])
        np.testing.assert_allclose(turned_pairs[1 + patch], pairs[1 + patch] * np.exp(1j * angles), rtol=1e-4)


def test_products_depend_on_the_way_from_patch_to_patch_only() -> None:
    query, key = np.random.normal(size=(2, 1, HEAD)).astype(np.float32)
    tables = rotary_tables(HEAD, grid=4, reference_grid=4)
    queries, keys = (rotate(tf.constant(np.repeat(x, 17, axis=0)), *tables) for x in (query, key))
    products = (queries.numpy() @ keys.numpy().T)[1:, 1:].reshape(4, 4, 4, 4)  # rows and columns of both
    np.testing.assert_allclose(products[0, 1, 2, 2], products[1, 2, 3, 3], rtol=1e-4)
    assert abs(products[0, 1, 2, 2] - products[0, 1, 2, 3]) > 1e-3


def test_a_finer_grid_has_the_places_of_the_reference() -> None:
    reference, finer = rotary_tables(HEAD, 2, 2), rotary_tables(HEAD, 4, 2)
    for coarse, fine in zip(reference, finer, strict=True):
        every_other = fine.numpy()[1:].reshape(4, 4, HEAD)[::2, ::2].reshape(4, HEAD)
        np.testing.assert_allclose(every_other, coarse[1:], atol=1e-6)


def test_no_block_keeps_tables_of_the_grid_s_size_in_the_graph() -> None:
    layer = EVA02Attention(2, 16, False)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, 1 + 32 * 32, 64])).graph
    one_table = 4 * (1 + 32 * 32) * 32  # bytes, of heads of 32 channels
    assert graph.as_graph_def().ByteSize() < one_table / 2


def test_attention_is_shared_out_in_float32_at_half_precision() -> None:
    layer = EVA02Attention(1, 2, False, dtype="mixed_bfloat16")
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, 5, 4], tf.bfloat16)).graph
    assert [each.outputs[0].dtype for each in graph.get_operations() if each.type == "Softmax"] == [tf.float32]


@pytest.mark.parametrize("inner_norm", [False, True])
def test_the_gate_is_the_silu_of_the_first_half(inner_norm: bool) -> None:
    layer = EVA02SwiGLU(5, inner_norm)
    layer.build((None, 2, 3))
    values = [np.random.normal(size=variable.shape).astype(np.float32) for variable in layer.weights]
    layer.set_weights(values)
    named = {variable.path.partition("/")[2]: value for variable, value in zip(layer.weights, values, strict=True)}
    tokens = np.random.normal(size=(4, 2, 3)).astype(np.float32)

    both = tokens @ named["gate_and_value/kernel"] + named["gate_and_value/bias"]
    gate, value = both[..., :5], both[..., 5:]
    inside = gate / (1 + np.exp(-gate)) * value
    if inner_norm:
        centred = inside - inside.mean(axis=-1, keepdims=True)
        inside = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
        inside = inside * named["norm/gamma"] + named["norm/beta"]
    expected = inside @ named["output_projection/kernel"] + named["output_projection/bias"]
    np.testing.assert_allclose(layer(tokens), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "published"), [("eva02_tiny", 5_502_144), ("eva02_small", 21_621_120)])
def test_small_sizes_have_as_many_parameters_as_timm_s(name: str, published: int) -> None:
    assert vision_encoder(name, dim=None).count_params() == published


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, 5, 20), r"`hidden_dim` must be a multiple of 4 `num_heads`, 8\. Received: 20"),
        ((None, 4, 16), r"`tokens` must be a class token and a square of patches\. Received: 4"),
    ],
)
def test_what_cannot_be_rotated_is_refused(shape: tuple[int | None, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EVA02Attention(2, 16, False).build(shape)


@pytest.mark.parametrize(
    ("architecture", "changed", "message"),
    [
        ("eva02_enormous_patch14_clip_224", {}, r"`architecture` must be one of eva02_base_patch14_224, .* Received: "),
        ("eva02_tiny_patch14_224", {"rope_type": "mixed"}, r"must change nothing of .* but depth, .*'mixed'"),
        ("eva02_tiny_patch14_224", {"in_chans": 1}, r"`in_chans` must be 3\. Received: 1"),
        (
            "eva02_tiny_patch14_224",
            {"global_pool": "map"},
            r"`global_pool` must be avg or token\. Received: 'map'",
        ),
        ("eva02_tiny_patch14_224", {"patch_size": [14, 16]}, r"`patch_size` must be square\. Received: \[14, 16\]"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, architecture: str, changed: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture, "model_args": changed}))
    with pytest.raises(ValueError, match=message):
        vision_encoder("eva02", dim=None, weights=tmp_path)
