import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.masked_softmax import masked_softmax
from mim_tf.interest.target_attention import attention_scores, join_heads, map_queries, pool

pytestmark = pytest.mark.both_kerases
BATCH, CANDIDATES, LENGTH, DIM, WIDTH, HEADS, KEY_DIM = 3, 8, 6, 4, 5, 2, 7


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def attention(targets: tf.Tensor, behaviours: tf.Tensor, mask: tf.Tensor, *kernels: tf.Tensor) -> tf.Tensor:
    """The four functions put together, with values that are projected after the sum."""
    query, key, value, output = kernels
    scores = attention_scores(map_queries(targets, query, key), behaviours) / query.shape[-1] ** 0.5
    found = pool(masked_softmax(scores, mask[:, tf.newaxis, tf.newaxis]), behaviours)
    heads = tf.einsum("bchw,hwk->bchk", found, value)
    return join_heads(heads, output)


def test_against_keras_which_projects_every_behaviour() -> None:
    targets, behaviours = drawn(BATCH, CANDIDATES, DIM), drawn(BATCH, LENGTH, WIDTH)
    mask = np.arange(LENGTH) < np.array([[1], [4], [6]])
    theirs = keras.layers.MultiHeadAttention(HEADS, KEY_DIM, use_bias=False, output_shape=DIM)
    arguments = {"value": behaviours, "key": behaviours, "attention_mask": mask[:, np.newaxis]}
    theirs(targets, **arguments)  # whose query's sequence are the candidates
    shapes = [(DIM, HEADS, KEY_DIM), (WIDTH, HEADS, KEY_DIM), (WIDTH, HEADS, KEY_DIM), (HEADS, KEY_DIM, DIM)]
    query, key, value, output = kernels = [drawn(*shape) for shape in shapes]
    value += 1.0  # not the key's kernel, whose shape it has
    # In the order of its variables: query, key, value, output.
    theirs.set_weights(kernels)
    expected = theirs(targets, **arguments)
    ours = [kernel.transpose(1, 0, 2) for kernel in (query, key, value)]
    np.testing.assert_allclose(attention(targets, behaviours, mask, *ours, output), expected, rtol=1e-4, atol=1e-5)


def test_without_a_real_behaviour_every_head_is_zero() -> None:
    shape = BATCH, CANDIDATES, HEADS
    scores, behaviours = tf.constant(drawn(*shape, LENGTH)), tf.constant(drawn(BATCH, LENGTH, WIDTH))
    nobody = pool(masked_softmax(scores, tf.zeros([BATCH, 1, 1, LENGTH], tf.bool)), behaviours)
    nothing = pool(masked_softmax(scores[..., :0], tf.zeros([BATCH, 1, 1, 0], tf.bool)), behaviours[:, :0])
    for heads in (nobody, nothing):
        np.testing.assert_array_equal(heads, np.zeros((*shape, WIDTH)))


def test_no_tensor_has_length_and_dim_and_heads_or_candidates() -> None:
    length, candidates, heads, dim = 10_000, 2, 8, 32
    kernels = [tf.TensorSpec([heads, dim, dim])] * 4

    @tf.function(input_signature=[tf.TensorSpec([2, candidates, dim]), tf.TensorSpec([2, length, dim]), *kernels])
    def gradients(targets: tf.Tensor, behaviours: tf.Tensor, *kernels: tf.Tensor) -> list[tf.Tensor]:
        sources = [targets, behaviours, *kernels]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            interest = attention(targets, behaviours, tf.ones([2, length], tf.bool), *kernels)
        return tape.gradient(interest, sources)

    operations = gradients.get_concrete_function().graph.get_operations()
    sizes = [tensor.shape.num_elements() for operation in operations for tensor in operation.outputs]
    assert max(size for size in sizes if size is not None) == 2 * length * dim
