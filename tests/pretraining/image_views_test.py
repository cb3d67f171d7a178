"""NT-Xent against SimCLR's equation in NumPy, on one replica and on two."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import VISION_FAMILIES
from mim_tf.pretraining.image_views import ImageViews
from tests.encoders.conftest import make_toy

CONVOLUTIONAL = [name for name, family in VISION_FAMILIES.items() if family.convolutional]
SEED = tf.constant([1, 2])


def toy(family: str = "resnet", dtype: str = "float32", temperature: float = 0.2) -> ImageViews:
    return ImageViews(make_toy(f"vision-{family}", dtype).encoder, temperature=temperature)


def photos(size: int, count: int = 4) -> tf.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3))
    return tf.constant(pixels.astype(np.uint8))


def nt_xent(embeddings: np.ndarray, temperature: float) -> float:
    """SimCLR's equation (1), averaged over both views of all images; `[images, 2, dim]`."""
    views = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    losses = []
    for image in range(len(views)):
        for view in (0, 1):
            own = views[image, view]
            positive = np.exp(own @ views[image, 1 - view] / temperature)
            others = [
                np.exp(own @ views[other, which] / temperature)
                for other in range(len(views))
                for which in (0, 1)
                if (other, which) != (image, view)
            ]
            assert len(others) == 2 * len(views) - 1  # 2N - 2 negatives and the positive
            losses.append(-np.log(positive / np.sum(others)))
    return float(np.mean(losses))


def nt_xent_gradient(embeddings: np.ndarray, temperature: float, step: float = 1e-5) -> np.ndarray:
    """By finite differences in float64."""
    gradient = np.zeros_like(embeddings)
    for place in np.ndindex(embeddings.shape):
        shift = np.zeros_like(embeddings)
        shift[place] = step
        rise = nt_xent(embeddings + shift, temperature) - nt_xent(embeddings - shift, temperature)
        gradient[place] = rise / (2 * step)
    return gradient


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_loss_and_gradient_are_simclrs(temperature: float) -> None:
    embeddings = np.random.default_rng(0).normal(size=(4, 2, 3))
    inputs = tf.constant(embeddings, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        scalars = toy(temperature=temperature).contrast(inputs, {})
    np.testing.assert_allclose(scalars["loss"], nt_xent(embeddings, temperature), rtol=1e-5)
    expected = nt_xent_gradient(embeddings, temperature)
    np.testing.assert_allclose(tape.gradient(scalars["loss"], inputs), expected, atol=1e-5)


def test_what_is_watched_tells_views_that_find_each_other_from_those_that_do_not() -> None:
    model = toy(temperature=1.0)
    found = model.contrast(tf.repeat(tf.eye(4)[:, tf.newaxis], 2, axis=1), {})
    # Of each view's seven candidates one has cosine 1 and six have 0: log(1 + 6 / e).
    np.testing.assert_allclose(found["loss"], np.log(1 + 6 / np.e), rtol=1e-5)
    assert found["view_accuracy"] == 1
    assert found["alignment"] == 0
    np.testing.assert_allclose(found["uniformity"], -4, rtol=1e-5)  # squared distances of 2, times -2
    # Row 0's second view is row 1's first and so on: nobody finds the own other view.
    crossed = model.contrast(tf.stack([tf.eye(4), tf.roll(tf.eye(4), 1, axis=0)], axis=1), {})
    assert crossed["view_accuracy"] == 0
    np.testing.assert_allclose(crossed["alignment"], 2, rtol=1e-5)
    # Views that are all one point: each candidate is as likely as the others.
    collapsed = model.contrast(tf.ones([4, 2, 3]), {})
    np.testing.assert_allclose(collapsed["loss"], np.log(7), rtol=1e-5)
    np.testing.assert_allclose(collapsed["uniformity"], 0, atol=1e-5)


def test_two_replicas_are_one_of_twice_the_batch() -> None:
    """In a process of its own: here the devices are initialised and cannot be split."""
    script = Path(__file__).with_name("image_views_replicas.py")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    embeddings = np.array(seen["embeddings"])  # [replicas, images, 2, dim]
    together = embeddings.reshape(-1, 2, embeddings.shape[-1])
    assert seen["losses"][0] != pytest.approx(seen["losses"][1], rel=1e-3)
    np.testing.assert_allclose(np.mean(seen["losses"]), nt_xent(together, seen["temperature"]), rtol=1e-5)
    # Each replica's gradient is that of the sum of both losses; the loop takes the mean.
    expected = nt_xent_gradient(together, seen["temperature"]).reshape(embeddings.shape)
    np.testing.assert_allclose(np.array(seen["gradients"]) / 2, expected, atol=1e-5)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_rows_belong_to_their_images_and_can_be_embedded_alone(family: str) -> None:
    model = toy(family)
    batch = model.assemble({"image": photos(model.image_size)}, SEED)
    embeddings = model.embed(batch, training=False)
    assert embeddings.shape == (4, 2, 128)
    alone = model.embed({name: views[1:3] for name, views in batch.items()}, training=False)
    np.testing.assert_allclose(alone, embeddings[1:3], rtol=1e-4, atol=1e-5)
    swapped = model.embed({"view_0": batch["view_1"], "view_1": batch["view_0"]}, training=False)
    np.testing.assert_allclose(swapped, embeddings.numpy()[:, ::-1], rtol=1e-4, atol=1e-5)
    scalars = model.losses_of(batch, training=False)
    np.testing.assert_allclose(scalars["loss"], nt_xent(embeddings.numpy().astype(float), 0.2), rtol=1e-4)


def test_the_head_is_two_layers_over_the_pooled_pixels() -> None:
    model = toy()
    batch = model.assemble({"image": photos(model.image_size)}, SEED)
    pixels = (batch["view_1"].numpy() / 255 - np.array(model.pixels.mean)) / np.array(model.pixels.std)
    pooled = model.backbone(tf.constant(pixels, tf.float32))["pooled"].numpy()
    first, second = (layer.get_weights() for layer in (model.hidden_layer, model.output_layer))
    expected = np.maximum(pooled @ first[0] + first[1], 0) @ second[0] + second[1]
    np.testing.assert_allclose(model.embed(batch, training=False)[:, 1], expected, rtol=1e-3, atol=1e-5)


def test_views_are_two_the_same_for_the_same_seed_in_a_parallel_pipeline() -> None:
    model = toy()
    examples = {"image": photos(model.image_size)}
    numbers = tf.data.Dataset.range(4, output_type=tf.int32)
    batches = numbers.map(lambda number: model.assemble(examples, tf.stack([number, 7])), num_parallel_calls=4)
    for number, batch in enumerate(batches):
        expected = model.assemble(examples, tf.constant([number, 7]))
        assert set(batch) == {"view_0", "view_1"}
        for name, views in batch.items():
            assert views.dtype == tf.uint8
            np.testing.assert_array_equal(views, expected[name])
        assert (batch["view_0"].numpy() != batch["view_1"].numpy()).any(axis=(1, 2, 3)).all()
    other = model.assemble(examples, SEED)
    assert (other["view_0"].numpy() != expected["view_0"].numpy()).any(axis=(1, 2, 3)).all()


def test_a_record_becomes_pixels() -> None:
    made = make_toy("vision-resnet")
    image = ImageViews(made.encoder).decode({"image": made.raw[0], "title": tf.constant("")})["image"]
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(image, made.encoder.decode(made.raw[0]))  # which cuts out the centre


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_all_that_learns_gets_a_gradient(family: str, dtype: str) -> None:
    model = toy(family, dtype)
    batch = model.assemble({"image": photos(model.image_size)}, SEED)
    with tf.GradientTape() as tape:
        scalars = model.losses_of(batch)
    assert all(value.dtype == tf.float32 and value.shape == () for value in scalars.values())
    variables = {variable.path: variable.value for variable in model.trainable_variables}
    gradients = tape.gradient(scalars["loss"], variables)
    # The projection is not among the variables, or it would have none.
    assert [path for path, gradient in gradients.items() if gradient is None] == []
    norms = np.array([float(tf.norm(gradient)) for gradient in gradients.values()])
    assert np.isfinite(norms).all()
    # A bias before batch normalisation has none.
    assert (norms > 0).mean() > 0.8


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_some_steps_bring_views_of_an_image_together(family: str) -> None:
    model = toy(family)
    batch = model.assemble({"image": photos(model.image_size, 8)}, SEED)
    optimizer = keras.optimizers.Adam(3e-3)
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.losses_of(batch)["loss"]
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    first = step()
    for _ in range(20):
        last = step()
    assert last < 0.7 * first


def test_transformers_are_refused_with_the_objective_that_takes_them() -> None:
    with pytest.raises(ValueError, match=r"`vision` must be convolutional; train vit with `masked_image`"):
        toy("vit")


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperatures_that_are_not_positive_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"`temperature` must be positive. Received: {temperature}"):
        toy(temperature=temperature)
