"""Ours against DeepCTR 0.9.4's layers (tf_keras), with the same weights and inputs."""

import sys
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import DIN
from mim_tf.interest.augru import AUGRU
from mim_tf.interest.bst import BST

pytestmark = pytest.mark.legacy_keras


@pytest.fixture
def sequence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """DeepCTR's sequence layers. On import it would ask the network for its newest version: that it cannot here."""
    silent = ModuleType("deepctr.utils")
    monkeypatch.setattr(silent, "check_version", lambda version: None, raising=False)
    monkeypatch.setitem(sys.modules, "deepctr.utils", silent)
    return pytest.importorskip("deepctr.layers.sequence", reason="DeepCTR is not installed")


BATCH, LENGTH, DIM = 6, 7, 4


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def din_pair(sequence: ModuleType) -> tuple[DIN, tf.keras.layers.Layer]:
    """Both DINs with weights drawn at random; the score is DeepCTR's LocalActivationUnit's own kernel and bias."""
    ours, theirs = DIN((5, 3)), sequence.AttentionSequencePoolingLayer((5, 3), "dice")
    ours.build((None, DIM))
    theirs([tf.zeros([1, 1, DIM]), tf.zeros([1, LENGTH, DIM]), tf.zeros([1, 1])])
    rng = np.random.default_rng(1)
    ours.set_weights([rng.uniform(0.1, 0.9, weight.shape) for weight in ours.get_weights()])
    unit = theirs.local_att
    for i, (dense, dice) in enumerate(zip(ours.hidden, ours.dices, strict=True)):
        unit.dnn.kernels[i].assign(dense.kernel)
        unit.dnn.bias[i].assign(dense.bias)
        unit.dnn.activation_layers[i].alphas.assign(dice.alpha)
        unit.dnn.activation_layers[i].bn.moving_mean.assign(dice.moving_mean)
        unit.dnn.activation_layers[i].bn.moving_variance.assign(dice.moving_variance)
    unit.kernel.assign(ours.score.kernel)
    unit.bias.assign(ours.score.bias)
    return ours, theirs


def test_din_at_inference(sequence: ModuleType) -> None:
    ours, theirs = din_pair(sequence)
    target, history, lengths = drawn(BATCH, DIM), drawn(BATCH, LENGTH, DIM), np.arange(1, BATCH + 1)
    mask = np.arange(LENGTH) < lengths[:, np.newaxis]
    expected = theirs([target[:, np.newaxis], history, lengths[:, np.newaxis]])[:, 0]
    np.testing.assert_allclose(ours(target, history, mask=mask), expected, rtol=1e-4, atol=1e-5)


def test_din_weights_of_attention(sequence: ModuleType) -> None:
    ours, theirs = din_pair(sequence)
    target, history = drawn(BATCH, DIM), drawn(BATCH, LENGTH, DIM)
    weights = theirs.local_att([target[:, np.newaxis], history])  # [batch, length, 1]
    for i in range(LENGTH):
        # Alone, a behaviour comes out times its weight.
        alone = ours(target, history, mask=np.tile(np.arange(LENGTH) == i, (BATCH, 1)))
        np.testing.assert_allclose(alone, weights[:, i] * history[:, i], rtol=1e-4, atol=1e-5)


def test_din_in_training(sequence: ModuleType) -> None:
    # Without padding, which DeepCTR's Dice would count into its statistics and ours does not.
    ours, theirs = din_pair(sequence)
    target, history = tf.constant(drawn(BATCH, DIM)), tf.constant(drawn(BATCH, LENGTH, DIM))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([target, history])
        output = ours(target, history, training=True)
        expected = theirs([target[:, tf.newaxis], history, tf.fill([BATCH, 1], LENGTH)], training=True)[:, 0]
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    for source in (target, history):
        slope, expected_slope = tape.gradient(output, source), tape.gradient(expected, source)
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-3, atol=1e-4)
    for dice, activation in zip(ours.dices, theirs.local_att.dnn.activation_layers, strict=True):
        np.testing.assert_allclose(dice.moving_mean, activation.bn.moving_mean, rtol=1e-5)
        np.testing.assert_allclose(dice.moving_variance, activation.bn.moving_variance, rtol=1e-5)


def deepctr_states(sequence: ModuleType, ours: AUGRU, inputs: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Run DeepCTR's AUGRU cell with our weights.

    Its affine maps and its loop over time are the test's: theirs call what TensorFlow no longer has.
    """
    kernel, recurrent_kernel, bias = (np.split(weight, 3, axis=-1) for weight in ours.get_weights())
    # Its u is the old state's share, so that sigmoid's argument has the other sign; r stands before u.
    of_gates = [np.concatenate([r, -u], axis=-1) for u, r, _ in (kernel, recurrent_kernel, bias)]
    cell, states = sequence.VecAttGRUCell(ours.units), [tf.zeros([BATCH, ours.units])]
    cell._gate_linear = lambda both: np.concatenate(both, axis=1) @ np.concatenate(of_gates[:2]) + of_gates[2]
    cell._candidate_linear = lambda both: both[0] @ kernel[2] + both[1] @ recurrent_kernel[2] + bias[2]
    for t in range(LENGTH):
        states.append(cell(inputs[:, t], states[-1], attention[:, t, np.newaxis])[1])
    return np.stack(states[1:], axis=1)


def augru_both_can_run() -> AUGRU:
    """Our AUGRU with weights for which the two definitions agree where the paper's and DeepCTR's differ.

    DeepCTR resets the state before its product with U_h, the paper (equation 4) after: the same for a diagonal U_h.
    """
    layer = AUGRU(DIM)
    layer.build((None, None, DIM))
    kernel, recurrent_kernel, bias = (drawn(*weight.shape) for weight in layer.get_weights())
    recurrent_kernel[:, 2 * DIM :] *= np.eye(DIM, dtype=np.float32)
    layer.set_weights([kernel, recurrent_kernel, bias])
    return layer


def test_augru_without_attention(sequence: ModuleType) -> None:
    ours, inputs = augru_both_can_run(), drawn(BATCH, LENGTH, DIM)
    # DeepCTR scales the old state's share, by 1 - a: its plain GRU is at a = 0.
    expected = deepctr_states(sequence, ours, inputs, np.zeros((BATCH, LENGTH), np.float32))
    np.testing.assert_allclose(ours(inputs), expected, rtol=1e-4, atol=1e-5)


def test_augru_with_attention(sequence: ModuleType) -> None:
    """The new state's share is a u in the paper and 1 - (1 - b) (1 - u) at DeepCTR's attention b.

    They agree at b = 1 - (1 - a u) / (1 - u), if u is the same for all units and known before the run: here it depends
    on the inputs, not on the state.
    """
    ours, inputs, attention = augru_both_can_run(), drawn(BATCH, LENGTH, DIM), drawn(BATCH, LENGTH) ** 2
    kernel, recurrent_kernel, bias = ours.get_weights()
    kernel[:, :DIM], recurrent_kernel[:, :DIM], bias[:DIM] = kernel[:, :1], 0, bias[0]
    ours.set_weights([kernel, recurrent_kernel, bias])
    attention /= 1 + attention
    u = 1 / (1 + np.exp(-inputs @ kernel[:, 0] - bias[0]))
    expected = deepctr_states(sequence, ours, inputs, 1 - (1 - attention * u) / (1 - u))
    np.testing.assert_allclose(ours(inputs, attention=attention), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(ours(inputs) - expected).max() > 0.1


@pytest.mark.parametrize("blocks", [1, 2])
def test_bst(sequence: ModuleType, blocks: int) -> None:
    heads = 2
    ours = BST(heads, blocks=blocks, time_dim=0)
    ours.build((None, DIM))
    rng = np.random.default_rng(2)
    ours.set_weights([rng.normal(size=weight.shape) for weight in ours.get_weights()])
    target, history, lengths = drawn(BATCH, DIM), drawn(BATCH, LENGTH, DIM), np.arange(1, BATCH + 1)
    mask = np.arange(LENGTH) < lengths[:, np.newaxis]
    # DeepCTR wants what counts in front: the target stands right behind the last real behaviour.
    places = np.concatenate([history * mask[..., np.newaxis], np.zeros_like(history[:, :1])], axis=1)
    places[np.arange(BATCH), lengths] = target
    for block in ours.transformer:
        places = deepctr_block(sequence, block, heads, places, lengths + 1)
    expected = places[np.arange(BATCH), lengths]
    np.testing.assert_allclose(ours(target, history, mask=mask), expected, rtol=1e-3, atol=1e-4)


def deepctr_block(
    sequence: ModuleType, ours: tf.keras.layers.Layer, heads: int, places: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Run DeepCTR's Transformer with the weights of our block, after setting those that it has not in ours.

    It joins heads without W_H, has no biases, one layer norm for both places, and ReLU: LeakyReLU(x) is
    ReLU(x) - 0.01 ReLU(-x), so half of our hidden units are taken, for which it takes two each.
    """
    half = 2 * DIM
    theirs = sequence.Transformer(
        DIM // heads, heads, use_positional_encoding=False, use_layer_norm=True, blinding=False, output_type=None
    )
    inputs = [places, places, lengths[:, np.newaxis], lengths[:, np.newaxis]]
    theirs(inputs)
    ours.joined.assign(np.eye(DIM))
    inner, outer = ours.inner.kernel.numpy()[:, :half], ours.outer.kernel.numpy()[:half]
    ours.inner.set_weights([np.concatenate([inner, np.zeros_like(inner)], axis=1), np.zeros(2 * half)])
    ours.outer.set_weights([np.concatenate([outer, np.zeros_like(outer)]), np.zeros(DIM)])
    ours.output_norm.set_weights(ours.attention_norm.get_weights())
    theirs.W_Query.assign(ours.query)
    theirs.W_key.assign(ours.key)
    theirs.W_Value.assign(ours.value)
    theirs.fw1.assign(np.concatenate([inner, -inner], axis=1))
    theirs.fw2.assign(np.concatenate([outer, -0.01 * outer]))
    theirs.ln.set_weights(ours.attention_norm.get_weights())
    return np.array(theirs(inputs))
