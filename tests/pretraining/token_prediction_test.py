"""Cross-entropy under tied embeddings against NumPy, alone and on two replicas."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.pretraining.token_prediction import predict_tokens

RNG = np.random.default_rng(0)
HIDDEN, EMBEDDING, BIAS = RNG.normal(size=(5, 3)), RNG.normal(size=(7, 3)), RNG.normal(size=7)
TARGETS = np.array([0, 6, 2, 2, 4])


def probabilities(bias: np.ndarray) -> np.ndarray:
    weights = np.exp(HIDDEN @ EMBEDDING.T + bias)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("with_bias", [False, True])
def test_values_and_gradients_are_those_of_a_softmax(with_bias: bool) -> None:
    hidden, embedding = tf.Variable(HIDDEN, dtype=tf.float32), keras.Variable(EMBEDDING, dtype="float32")
    bias = keras.Variable(BIAS, dtype="float32") if with_bias else None
    with tf.GradientTape(persistent=True) as tape:
        scalars = predict_tokens(hidden, tf.constant(TARGETS, tf.int32), embedding, bias)
    p = probabilities(BIAS if with_bias else np.zeros(7))
    loss = -np.log(p[np.arange(5), TARGETS]).mean()
    np.testing.assert_allclose(scalars["loss"], loss, rtol=1e-5)
    assert scalars["accuracy"] == np.float32((p.argmax(axis=1) == TARGETS).mean())
    error = (p - np.eye(7)[TARGETS]) / 5  # d loss / d logits
    np.testing.assert_allclose(tape.gradient(scalars["loss"], hidden), error @ EMBEDDING, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(scalars["loss"], embedding.value), error.T @ HIDDEN, rtol=1e-4, atol=1e-6)
    if bias is not None:
        np.testing.assert_allclose(tape.gradient(scalars["loss"], bias.value), error.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_without_a_token_there_is_nothing_to_learn() -> None:
    embedding = keras.Variable(EMBEDDING, dtype="float32")
    with tf.GradientTape() as tape:
        scalars = predict_tokens(tf.zeros([0, 3]), tf.zeros([0], tf.int32), embedding)
    assert (scalars["loss"], scalars["accuracy"]) == (0, 0)
    np.testing.assert_array_equal(tape.gradient(scalars["loss"], embedding.value), np.zeros((7, 3)))


def test_the_mean_over_two_replicas_is_that_of_all_tokens() -> None:
    """The first replica has two of the tokens, the second three."""
    arrays = {"hidden": HIDDEN.tolist(), "targets": TARGETS.tolist(), "embedding": EMBEDDING.tolist()}
    script = Path(__file__).with_name("two_replicas.py")
    run = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(arrays), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    p = probabilities(np.zeros(7))
    loss = -np.log(p[np.arange(5), TARGETS]).mean()
    np.testing.assert_allclose(np.mean(seen["loss"]), loss, rtol=1e-5)
    np.testing.assert_allclose(np.mean(seen["accuracy"]), (p.argmax(axis=1) == TARGETS).mean(), rtol=1e-5)
    gradient = np.mean(seen["gradient"], axis=0)  # as the training averages it
    np.testing.assert_allclose(gradient, ((p - np.eye(7)[TARGETS]) / 5).T @ HIDDEN, rtol=1e-4, atol=1e-6)
