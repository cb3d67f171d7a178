"""ShiftedWindowAttention against NumPy, place by place."""

import keras
import numpy as np
import pytest

from mim_tf.encoders.vision.shifted_window_attention import ShiftedWindowAttention

HEADS, WIDTH = 2, 3
DIM = HEADS * WIDTH


def attend(qkv: np.ndarray, table: np.ndarray, window: int, window_size: int, shift: int) -> np.ndarray:
    """`[side, side, 3 dim]` to `[side, side, dim]`: places see those between the same edges of windows only."""
    side = len(qkv)
    row, column = np.divmod(np.arange(side**2), side)
    edges = (np.arange(side) + window - shift) // window
    together = np.equal.outer(edges[row], edges[row]) & np.equal.outer(edges[column], edges[column])
    distance = [np.where(together, np.subtract.outer(axis, axis), 0) + window_size - 1 for axis in (row, column)]
    query, key, value = qkv.reshape(side**2, 3, HEADS, WIDTH).transpose(1, 2, 0, 3)  # each [heads, places, width]
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH)
    scores += table.T.reshape(HEADS, 2 * window_size - 1, 2 * window_size - 1)[:, distance[0], distance[1]]
    weights = np.where(together, np.exp(scores), 0)
    attended = weights / weights.sum(axis=-1, keepdims=True) @ value
    return attended.transpose(1, 0, 2).reshape(side, side, DIM)


@pytest.mark.parametrize(
    ("side", "window_size", "shifted", "window", "shift"),
    [
        (6, 3, False, 3, 0),
        (6, 3, True, 3, 1),
        (8, 4, True, 4, 2),
        (7, 3, True, 3, 1),  # filled up to 9
        (3, 3, True, 3, 0),  # as large as a window
        (2, 3, True, 2, 0),  # smaller
    ],
)
def test_places_attend_within_their_window(side: int, window_size: int, shifted: bool, window: int, shift: int) -> None:
    layer = ShiftedWindowAttention(HEADS, window_size, shifted=shifted)
    maps = np.random.normal(size=(2, side, side, DIM)).astype(np.float32)
    layer.build(maps.shape)
    for variable in layer.weights:
        variable.assign(np.random.normal(size=variable.shape))
    table, qkv_kernel, qkv_bias, kernel, bias = layer.get_weights()
    filled = np.pad(maps, [(0, 0), (0, -side % window), (0, -side % window), (0, 0)])
    attended = [attend(qkv, table, window, window_size, shift) for qkv in filled @ qkv_kernel + qkv_bias]
    expected = (np.stack(attended) @ kernel + bias)[:, :side, :side]
    np.testing.assert_allclose(layer(maps), expected, rtol=1e-3, atol=1e-4)


def test_it_is_made_again_from_its_configuration() -> None:
    layer = ShiftedWindowAttention(3, 4, shifted=True, qkv_bias=False, dtype="mixed_bfloat16", name="attn")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again(np.zeros((1, 8, 8, 6), np.float32)).dtype == "bfloat16"
    assert len(again.weights) == 4  # the table, two kernels, the projection's bias


def test_heads_must_share_the_channels_equally() -> None:
    with pytest.raises(ValueError, match=r"`dim` must be a multiple of `num_heads`, 4\. Received: 6"):
        ShiftedWindowAttention(4, 2, shifted=False)(np.zeros((1, 4, 4, 6), np.float32))
