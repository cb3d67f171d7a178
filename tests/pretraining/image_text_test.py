"""Image against title: loss and gradients against NumPy, equal titles, the temperature's bound, and batches."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.pretraining.image_text import ImageText
from mim_tf.settings import ImageTextSettings
from mim_tf.training.optimizer import adamw
from tests.training.two_replicas import DIM, examples, text, vision

TITLES = np.array([7, 8, 7, 9], np.int64)  # rows 0 and 2 have the same title
SAME = TITLES[:, np.newaxis] == TITLES


def model(loss: str, temperature: float = 0.5) -> ImageText:
    return ImageText(vision(), text(), temperature=temperature, loss=loss)


def numpy_loss(loss: str, embeddings: np.ndarray, log_scale: float, bias: float) -> float:
    """CLIP's and SigLIP's pseudocode in float64."""
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in np.moveaxis(embeddings, 1, 0))
    logits = images @ texts.T * np.exp(log_scale)
    own = np.eye(len(images), dtype=bool)
    if loss == "sigmoid":
        signs = 2.0 * own - 1
        losses = np.log1p(np.exp(-signs * (logits + bias)))
        return float(losses[own | ~SAME].sum() / len(images))
    total = 0.0
    for rows in (logits, logits.T):
        weights = np.exp(rows) * (own | ~SAME)
        total += -np.log(np.diag(weights) / weights.sum(axis=1)).mean() / 2
    return float(total)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_loss_and_gradients_equal_numpy(loss: str) -> None:
    objective = model(loss)
    scalars = [objective.log_scale.value] + ([objective.bias.value] if loss == "sigmoid" else [])
    if loss == "sigmoid":
        objective.bias.assign(-1.5)
    embeddings = np.random.default_rng(0).normal(size=(4, 2, 3))
    start = [embeddings, np.array(np.log(2.0)), np.array(-1.5)]
    variable = tf.Variable(embeddings, dtype=tf.float32)
    with tf.GradientTape() as tape:
        found = objective.contrast(tf.identity(variable), {"title": tf.constant(TITLES)})
    np.testing.assert_allclose(found["loss"], numpy_loss(loss, *start), rtol=1e-5)
    np.testing.assert_allclose(found["temperature"], 0.5, rtol=1e-6)
    for index, gradient in enumerate(tape.gradient(found["loss"], [variable, *scalars])):
        expected = np.zeros_like(start[index])
        for place in np.ndindex(expected.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [value.copy() for value in start]
                moved[index][place] += step
                values.append(numpy_loss(loss, *moved))
            expected[place] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_aligned_embeddings_are_all_first() -> None:
    found = model("softmax", 1.0).contrast(tf.stack([tf.eye(4)] * 2, axis=1), {"title": tf.range(4)})
    assert found["image_to_text_accuracy"] == 1
    assert found["text_to_image_accuracy"] == 1
    # log(1 + 3 / e): the positive has cosine 1, the three others 0
    np.testing.assert_allclose(found["loss"], np.log(1 + 3 / np.e), rtol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_huge_step_leaves_the_temperature_at_its_bound(loss: str) -> None:
    objective = model(loss)
    variables = objective.trainable_variables
    optimizer = adamw(variables, 10, ImageTextSettings(learning_rate=100.0, warmup=0, weight_decay=0), {})
    down = [tf.ones(v.shape) * (-1.0 if v is objective.log_scale else 0.0) for v in variables]
    optimizer.apply(down, variables)
    found = objective.contrast(tf.random.normal([4, 2, DIM]), {"title": tf.constant(TITLES)})
    assert np.isfinite(found["loss"])
    np.testing.assert_allclose(found["temperature"], 0.01, rtol=1e-6)


def test_sigmoid_starts_from_no() -> None:
    """SigLIP: a bias of -10 and a temperature of 0.1 at the start; with cosines 0, ten per positive."""
    objective = model("sigmoid", 0.1)
    assert objective.bias.numpy() == -10
    embeddings = tf.stack([tf.eye(4, 8), tf.eye(8)[4:]], axis=1)
    found = objective.contrast(embeddings, {"title": tf.range(4)})
    np.testing.assert_allclose(found["loss"], np.log1p(np.exp(10)) + 3 * np.log1p(np.exp(-10)), rtol=1e-6)
    assert model("softmax").bias is None


def test_another_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`loss` must be softmax or sigmoid\. Received: 'hinge'"):
        model("hinge")


def test_the_same_seed_gives_the_same_batch_and_equal_titles_equal_numbers() -> None:
    objective = model("softmax")
    rows = examples(0)
    one, again, other = (objective.assemble(rows, tf.constant([3, seed])) for seed in (1, 1, 2))
    assert one.keys() == {"image", "token_ids", "title"}
    assert one["image"].dtype == tf.uint8
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert (one["image"].numpy() != other["image"].numpy()).mean() > 0.5
    texts = rows["title"].numpy()
    np.testing.assert_array_equal(
        one["title"].numpy()[:, np.newaxis] == one["title"].numpy(), texts[:, np.newaxis] == texts
    )


def test_batches_do_not_depend_on_what_runs_beside() -> None:
    objective = model("softmax")
    encoded = [tf.io.encode_png(image).numpy() for image in examples(0)["image"]]
    records = tf.data.Dataset.from_tensor_slices({"image": encoded, "title": examples(0)["title"]})
    batches = records.map(objective.decode, num_parallel_calls=4).batch(8).repeat(2)

    def assembled() -> list[dict[str, np.ndarray]]:
        numbered = batches.enumerate().map(
            lambda number, rows: objective.assemble(rows, tf.stack([0, tf.cast(number, tf.int32)])),
            num_parallel_calls=2,
        )
        return list(numbered.as_numpy_iterator())

    first, second = assembled(), assembled()
    for one, other in zip(first, second, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert not np.array_equal(first[0]["image"], first[1]["image"])
