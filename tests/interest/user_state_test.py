from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import AveragePooling, CiUBM
from mim_tf.interest.user_state import UserState

pytestmark = pytest.mark.both_kerases
DIM, MM_DIM = 6, 10


def drawn(length: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contents (a tenth unknown, float16 as in a table), ids and mask; padding holds NaN."""
    rng = np.random.default_rng(9)
    contents = rng.normal(size=(batch, length, MM_DIM)) * (rng.random((batch, length, 1)) > 0.1)
    ids, mask = rng.normal(size=(batch, length, DIM)), rng.random((batch, length)) > 0.2
    for values in (contents, ids):
        values[~mask] = np.nan
    return contents.astype(np.float16), ids.astype(np.float32), mask


def candidates(count: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(10).normal(size=(batch, count, MM_DIM)).astype(np.float16)


def by_hand(targets: np.ndarray, contents: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`sum_i cos(t, i) v_i` in float64, directly."""
    t, h = targets.astype(np.float64), np.where(mask[..., None], contents, 0).astype(np.float64)
    norms = np.linalg.norm(t, axis=-1)[:, :, None] * np.linalg.norm(h, axis=-1)[:, None, :]
    cosines = np.divide(t @ h.transpose(0, 2, 1), norms, out=np.zeros_like(norms), where=norms > 0)
    return cosines @ np.where(mask[..., None], values, 0).astype(np.float64)


def assert_is_the_history(state: UserState, contents: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> None:
    """Hold the state against the direct form: 1e-5 of the result's scale."""
    targets = candidates(7, len(contents))
    for output, values in ((state.content_interest(targets), contents), (state.fusion_interest(targets), ids)):
        expected = by_hand(targets, contents, values, mask)
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_by_hand() -> None:
    # h^ = (0.8, 0.6) and (-1, 0); the third item has no embedding.
    contents = tf.constant([[[4.0, 3.0], [-1.0, 0.0], [0.0, 0.0]]])
    state = UserState.from_history(contents, tf.constant([[[10.0], [20.0], [99.0]]]))
    # (4, 3) (0.8, 0.6)^T + (-1, 0) (-1, 0)^T, and 10 (0.8, 0.6) + 20 (-1, 0)
    np.testing.assert_allclose(state.content, [[[4.2, 2.4], [2.4, 1.8]]], rtol=1e-12)
    np.testing.assert_allclose(state.fusion, [[[-12.0, 6.0]]], rtol=1e-12)
    # A target's length does not matter: t^ = (1, 0).
    np.testing.assert_allclose(state.content_interest(tf.constant([[3.0, 0.0]])), [[4.2, 2.4]], rtol=1e-6)
    np.testing.assert_allclose(state.fusion_interest(tf.constant([[3.0, 0.0]])), [[-12.0]], rtol=1e-6)


# One block, a part of one, blocks and a part.
@pytest.mark.parametrize("length", [1, 30, 1024, 2500])
def test_a_history_at_once(length: int) -> None:
    contents, ids, mask = drawn(length)
    assert_is_the_history(UserState.from_history(contents, ids, mask), contents, ids, mask)


def test_behaviours_that_come_later_change_it_as_if_they_had_been_there() -> None:
    contents, ids, mask = drawn(50)
    state = UserState.from_history(contents[:, :20], ids[:, :20], mask[:, :20])
    state = state.add(contents[:, 20:40], ids[:, 20:40], mask[:, 20:40])
    for position in range(40, 50):
        state = state.add(contents[:, position], ids[:, position], mask[:, position])
    assert_is_the_history(state, contents, ids, mask)


def test_adding_leaves_the_state_before_as_it_was() -> None:
    before = UserState.empty(1, 1, 2)
    after = before.add(tf.ones([1, 2]), tf.ones([1, 1]))
    assert not np.any(before.fusion)
    assert np.any(after.fusion)


@tf.function
def added_one_by_one(state: UserState, contents: tf.Tensor, ids: tf.Tensor, mask: tf.Tensor) -> UserState:
    for position in tf.range(tf.shape(ids)[1]):
        state = state.add(contents[:, position], ids[:, position], mask[:, position])
    return state


@pytest.mark.parametrize("repeated", [False, True])
def test_ten_thousand_single_additions(repeated: bool) -> None:
    contents, ids, mask = drawn(10_000, batch=1)
    if repeated:  # rounding would err to the same side each time
        known = int(np.flatnonzero(mask[0] & (np.abs(contents[0]).max(axis=-1) > 0))[0])
        contents, ids, mask = (
            np.repeat(values[:, known : known + 1], 10_000, axis=1) for values in (contents, ids, mask)
        )
    state = added_one_by_one(UserState.empty(1, DIM, MM_DIM), contents, ids, mask)
    assert_is_the_history(state, contents, ids, mask)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_half_precision_rows_are_summed_up_in_the_states(dtype: str) -> None:
    contents, ids, mask = drawn(3000, batch=1)
    state = UserState.empty(1, DIM, MM_DIM, dtype).add(contents, ids.astype(np.float16), mask)
    assert state.content.dtype == state.fusion.dtype == dtype
    assert_is_the_history(state, contents, ids.astype(np.float16), mask)
    assert state.content_interest(candidates(3, 1)).dtype == tf.float32


def test_a_user_without_a_behaviour_has_no_interest() -> None:
    contents, ids, mask = drawn(5)
    states = [
        UserState.empty(2, DIM, MM_DIM),
        UserState.from_history(contents, ids, np.zeros_like(mask)),
        UserState.from_history(contents[:, :0], ids[:, :0]),
    ]
    for state in states:
        np.testing.assert_array_equal(state.content_interest(candidates(3)), np.zeros([2, 3, MM_DIM]))
        np.testing.assert_array_equal(state.fusion_interest(candidates(1)[:, 0]), np.zeros([2, DIM]))


def test_beside_an_id_interest_it_gives_h_b_of_every_candidate() -> None:
    contents, ids, mask = drawn(40, batch=1)
    rng = np.random.default_rng(11)
    targets, target_contents = rng.normal(size=(5, DIM)).astype(np.float32), candidates(5, 1)[0]
    repeated = [np.repeat(values, 5, axis=0) for values in (ids, contents, mask)]
    expected = CiUBM(AveragePooling())(targets, repeated[0], target_contents, repeated[1], mask=repeated[2])
    state = UserState.from_history(contents, ids, mask)
    h_b = tf.concat(
        [
            AveragePooling()(targets, repeated[0], mask=repeated[2]),
            state.content_interest(target_contents[np.newaxis])[0],
            state.fusion_interest(target_contents[np.newaxis])[0],
        ],
        axis=-1,
    )
    np.testing.assert_allclose(h_b, expected, rtol=1e-4, atol=1e-5)


def test_a_long_history_is_never_copied_as_a_whole() -> None:
    contents, ids = tf.TensorSpec([1, 10_000, MM_DIM], tf.float16), tf.TensorSpec([1, 10_000, DIM], tf.float16)
    mask = tf.TensorSpec([1, 10_000], tf.bool)
    traced = tf.function(UserState.from_history).get_concrete_function(contents, ids, mask)
    made = [op for op in traced.graph.get_operations() if op.type not in ("Placeholder", "Identity")]
    assert made
    for op in made:
        for output in op.outputs:
            # What the loop carries through unchanged is the history itself, no copy.
            size = output.shape.num_elements() or 0
            assert size < 10_000 or op.type in ("While", "StatelessWhile"), op.name


class Serving(tf.Module):
    """What a serving system asks for: a state after a behaviour, and interests from a state."""

    @tf.function(
        input_signature=[
            UserState(
                tf.TensorSpec([None, MM_DIM, MM_DIM], tf.float64), tf.TensorSpec([None, DIM, MM_DIM], tf.float64)
            ),
            tf.TensorSpec([None, MM_DIM], tf.float16),
            tf.TensorSpec([None, DIM], tf.float32),
        ]
    )
    def add(self, state: UserState, contents: tf.Tensor, ids: tf.Tensor) -> UserState:
        return state.add(contents, ids)

    @tf.function(
        input_signature=[
            UserState(
                tf.TensorSpec([None, MM_DIM, MM_DIM], tf.float64), tf.TensorSpec([None, DIM, MM_DIM], tf.float64)
            ),
            tf.TensorSpec([None, None, MM_DIM], tf.float16),
        ]
    )
    def interests(self, state: UserState, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"content": state.content_interest(targets), "fusion": state.fusion_interest(targets)}


def test_it_goes_through_a_saved_model(tmp_path: Path) -> None:
    tf.saved_model.save(Serving(), str(tmp_path))
    served: Any = tf.saved_model.load(str(tmp_path))
    contents, ids, mask = drawn(3)
    contents, ids = np.where(mask[..., None], contents, 0), np.where(mask[..., None], ids, 0)
    state = UserState.empty(2, DIM, MM_DIM)
    for position in range(3):
        state = served.add(UserState(*state), contents[:, position].astype(np.float16), ids[:, position])
    targets = candidates(4)
    output = served.interests(UserState(*state), targets)
    np.testing.assert_allclose(output["content"], by_hand(targets, contents, contents, mask), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output["fusion"], by_hand(targets, contents, ids, mask), rtol=1e-4, atol=1e-5)


def test_it_is_an_argument_of_a_keras_layer() -> None:
    class FromState(keras.layers.Layer):
        def call(self, state: UserState, targets: tf.Tensor) -> tf.Tensor:
            return state.fusion_interest(targets)

    contents, ids, mask = drawn(5)
    state, targets = UserState.from_history(contents, ids, mask), candidates(4)
    entries = UserState(keras.Input([MM_DIM, MM_DIM], dtype="float64"), keras.Input([DIM, MM_DIM], dtype="float64"))
    of_targets = keras.Input([None, MM_DIM], dtype="float16")
    model = keras.Model([*entries, of_targets], FromState(autocast=False)(entries, of_targets))
    output = model([*state, tf.constant(targets)])
    np.testing.assert_allclose(output, by_hand(targets, contents, ids, mask), rtol=1e-4, atol=1e-5)


STATE = UserState.empty(2, DIM, MM_DIM)


@pytest.mark.parametrize(
    ("contents", "ids", "mask", "message"),
    [
        ((2, 4, 9), (2, 4, DIM), None, r"`history_embedding` and `content` must have .* last dimension.*\(2, 4, 9\)"),
        ((3, 4, MM_DIM), (3, 4, DIM), None, r"`history_embedding` and `content` must have the same batch size"),
        ((2, 4, MM_DIM), (2, 4, 5), None, r"`history` must have .* \(2, 6\). Received: shape \(2, 4, 5\)"),
        ((2, 4, MM_DIM), (2, 3, DIM), None, "`history` and `history_embedding` must have the same batch size and len"),
        ((2, MM_DIM), (2, 3, DIM), None, r"`history_embedding` must have the shape \[batch, length, dim\]"),
        ((2, 4, MM_DIM), (2, 4, DIM), (2, 3), r"`mask` must have the shape .* \(2, 4\). Received: shape \(2, 3\)"),
        ((2, MM_DIM), (2, DIM), (3,), r"`mask` must have the shape .* \(2, 1\). Received: shape \(3, 1\)"),
    ],
)
def test_behaviours_that_do_not_fit(contents: Any, ids: Any, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STATE.add(tf.zeros(contents), tf.zeros(ids), None if mask is None else tf.ones(mask, tf.bool))


@pytest.mark.parametrize("shape", [(2, 9), (3, MM_DIM), (2, 4, 9), (3, 4, MM_DIM)])
def test_targets_that_do_not_fit(shape: tuple[int, ...]) -> None:
    for interest in (STATE.content_interest, STATE.fusion_interest):
        with pytest.raises(ValueError, match="`target_embedding` and `the state` must have the same batch size"):
            interest(tf.zeros(shape))


def test_targets_of_another_rank_or_type() -> None:
    with pytest.raises(ValueError, match=r"\[batch, dim\] or \[batch, candidates, dim\]. Received: shape \(10,\)"):
        STATE.content_interest(tf.zeros([MM_DIM]))
    with pytest.raises(TypeError, match=r"`target_embedding` must be floating point. Received: dtype int32"):
        STATE.fusion_interest(tf.zeros([2, MM_DIM], tf.int32))


def test_a_state_in_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`dtype` must be float32 or float64. Received: float16"):
        UserState.empty(1, 2, 3, tf.float16)
