"""Masked image modelling against NumPy, for every family of transformers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import VISION_FAMILIES, vision_encoder
from mim_tf.pretraining.masked_image import MaskedImage
from tests.encoders.conftest import make_toy

TRANSFORMERS = [name for name, family in VISION_FAMILIES.items() if not family.convolutional]
SEED = tf.constant([1, 2])


def toy(family: str, dtype: str = "float32", **arguments: float) -> MaskedImage:
    return MaskedImage(make_toy(f"vision-{family}", dtype).encoder, **arguments)


@pytest.fixture(scope="module", params=TRANSFORMERS)
def model(request: pytest.FixtureRequest) -> MaskedImage:
    """One of each family, for tests that leave it as it is."""
    keras.utils.set_random_seed(0)
    return toy(request.param)


def photos(size: int, count: int = 3, seed: int = 0) -> tf.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3))
    return tf.constant(pixels.astype(np.uint8))


def batch_of(model: MaskedImage, count: int = 3) -> dict[str, tf.Tensor]:
    return model.assemble({"image": photos(model.image_size, count)}, SEED)


def enlarged(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask of squares to one of pixels, `[batch, size, size]`."""
    return np.kron(mask, np.ones((1, size // mask.shape[1], size // mask.shape[1]))).astype(bool)


def unshuffled(values: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Of `side * side` tokens, each with the pixels of its square row by row, an image."""
    image = np.zeros((side * stride, side * stride, 3), values.dtype)
    for token, pixels in enumerate(values):
        top, left = stride * (token // side), stride * (token % side)
        image[top : top + stride, left : left + stride] = pixels.reshape(stride, stride, 3)
    return image


def by_hand(model: MaskedImage, batch: dict[str, tf.Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised targets and predictions `[batch, size, size, 3]` and the mask of pixels `[batch, size, size]`."""
    size, patch = model.image_size, model.patch_size
    targets = (batch["image"].numpy() / 255 - np.array(model.pixels.mean)) / np.array(model.pixels.std)
    mask = enlarged(batch["mask"].numpy(), size)
    seen = targets.copy()
    for image, top, left in np.argwhere(mask):
        seen[image, top, left] = model.mask_patch.numpy()[top % patch, left % patch]
    sequence = model.tokens(tf.constant(seen, tf.float32)).numpy()
    side = size // model.stride
    kernel, bias = (weight.numpy() for weight in model.head.weights)
    values = sequence[:, sequence.shape[1] - side * side :] @ kernel + bias
    return targets, np.stack([unshuffled(image, side, model.stride) for image in values]), mask


def test_the_loss_is_the_mean_absolute_error_of_masked_pixels(model: MaskedImage) -> None:
    batch = batch_of(model)
    targets, predicted, mask = by_hand(model, batch)
    scalars = model.losses_of(batch, training=False)
    np.testing.assert_allclose(scalars["loss"], np.abs(targets - predicted)[mask].mean(), rtol=1e-4)
    colours = [image[~hidden].mean(axis=0) for image, hidden in zip(targets, mask, strict=True)]
    errors = [np.abs(image - colour)[hidden] for image, colour, hidden in zip(targets, colours, mask, strict=True)]
    np.testing.assert_allclose(scalars["mean_colour_loss"], np.concatenate(errors).mean(), rtol=1e-4)


def test_gradients_of_the_head_are_those_of_the_mean_absolute_error() -> None:
    model = toy("vit")
    batch = batch_of(model)
    targets, predicted, mask = by_hand(model, batch)
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch, training=False)["loss"]
    gradient = tape.gradient(loss, model.head.bias.value)
    # d |y - t| / d y is the sign of y - t; a bias adds to one place of every token's square.
    signs = np.sign(predicted - targets) * mask[..., np.newaxis] / (3 * mask.sum())
    side, stride = model.image_size // model.stride, model.stride
    expected = signs.reshape(-1, side, stride, side, stride, 3).sum(axis=(0, 1, 3)).reshape(-1)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_the_gradient_of_the_mask_patch_is_that_of_finite_differences(family: str) -> None:
    model = toy(family)
    batch = batch_of(model)
    patch = model.mask_patch
    patch.assign(tf.random.stateless_normal(patch.shape, [5, 6]))
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch, training=False)["loss"]
    gradient = tape.gradient(loss, patch.value)
    start, step = patch.numpy(), 1e-2 * gradient / tf.norm(gradient)
    losses = []
    for sign in (1, -1):
        patch.assign(start + sign * step)
        losses.append(float(model.losses_of(batch, training=False)["loss"]))
    assert float(tf.norm(gradient)) > 1e-4
    # Along the gradient the loss rises by its norm times the way.
    np.testing.assert_allclose((losses[0] - losses[1]) / 2e-2, float(tf.norm(gradient)), rtol=0.05)


def test_what_is_masked_is_not_seen_and_what_is_visible_is_not_rewarded(
    model: MaskedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = photos(model.image_size), photos(model.image_size, seed=1)
    mask = batch_of(model)["mask"]
    hidden = enlarged(mask.numpy(), model.image_size)[..., np.newaxis]
    changed = {"image": tf.where(hidden, other, first), "mask": mask}
    same, alike = model.reconstruct({"image": first, "mask": mask}), model.reconstruct(changed)
    np.testing.assert_array_equal(alike["masked"], same["masked"])
    np.testing.assert_array_equal(alike["prediction"], same["prediction"])
    # The head predicts something else for visible pixels; the loss does not know.
    batch = {"image": first, "mask": mask}
    images, pixels = model._images_and_mask(batch)
    loss = model.losses_of(batch, training=False)["loss"]
    predicted = model._predict(model._hide(images, pixels), training=False)
    monkeypatch.setattr(model, "_predict", lambda seen, training: tf.where(pixels, predicted, images + 9))
    assert model.losses_of(batch, training=False)["loss"] == loss


def test_the_mask_patch_becomes_one_embedding_wherever_it_is(model: MaskedImage) -> None:
    [stem] = [layer for layer in model.tokens._flatten_layers() if isinstance(layer, keras.layers.Conv2D)]
    images = tf.random.stateless_normal([1, model.image_size, model.image_size, 3], [1, 2])
    mask = np.zeros((1, model.image_size, model.image_size, 1), bool)
    half = model.image_size // 2
    mask[:, :, half:] = True
    patches = stem(model._hide(images, tf.constant(mask))).numpy()[0]
    grid = patches.shape[0]
    # W m + b of SimMIM's mask token in all masked places, of the image's own pixels in the others
    expected = np.einsum("ijc,ijcd->d", model.mask_patch.numpy(), stem.kernel.numpy()) + stem.bias.numpy()
    np.testing.assert_allclose(
        patches[:, grid // 2 :], np.broadcast_to(expected, (grid, grid // 2, stem.filters)), atol=1e-5
    )
    np.testing.assert_allclose(patches[:, : grid // 2], stem(images).numpy()[0, :, : grid // 2], atol=1e-6)


def test_images_masked_everywhere_are_all_alike(model: MaskedImage) -> None:
    everywhere = tf.ones([3, model.squares, model.squares], tf.bool)
    predictions = model.reconstruct({"image": photos(model.image_size), "mask": everywhere})["prediction"].numpy()
    np.testing.assert_array_equal(predictions[1], predictions[0])
    np.testing.assert_array_equal(predictions[2], predictions[0])


def test_pixels_are_put_where_their_token_lies() -> None:
    model = toy("vit")
    size, stride = model.image_size, model.stride
    image = photos(size, count=1)
    wanted = model.pixels.normalise(tf.cast(image, tf.float32)).numpy()[0]
    side = size // stride
    # A register token, then tokens that each say where they are; the head knows the square of each place.
    model.tokens = lambda seen, training: tf.concat([tf.fill([1, 1, 32], 7.0), tf.eye(4, 32)[tf.newaxis]], axis=1)
    squares = [
        wanted[stride * row :, stride * column :][:stride, :stride] for row in range(side) for column in range(side)
    ]
    kernel = np.zeros((32, stride * stride * 3), np.float32)
    kernel[:4] = [square.reshape(-1) for square in squares]
    model.head.set_weights([kernel, np.zeros(stride * stride * 3)])
    everywhere = tf.ones([1, model.squares, model.squares], tf.bool)
    np.testing.assert_array_equal(model.reconstruct({"image": image, "mask": everywhere})["prediction"], image)
    np.testing.assert_allclose(model.losses_of({"image": image, "mask": everywhere})["loss"], 0, atol=1e-6)


def test_pictures_show_the_mask_and_keep_what_is_visible() -> None:
    model = toy("vit")
    model.mask_patch.assign(tf.fill(model.mask_patch.shape, 100.0))  # brighter than white
    batch = batch_of(model)
    pictures = model.reconstruct(batch)
    mask = enlarged(batch["mask"].numpy(), model.image_size)
    assert all(picture.dtype == tf.uint8 for picture in pictures.values())
    np.testing.assert_array_equal(pictures["original"], batch["image"])
    for name in ("masked", "prediction"):
        np.testing.assert_array_equal(pictures[name].numpy()[~mask], batch["image"].numpy()[~mask])
    assert (pictures["masked"].numpy()[mask] == 255).all()
    assert (pictures["prediction"].numpy()[mask] != batch["image"].numpy()[mask]).mean() > 0.9


@pytest.mark.parametrize(
    ("size", "mask_size", "share", "squares", "masked"),
    [(32, None, 0.6, 16, 10), (64, 16, 0.6, 16, 10), (64, 8, 0.5, 64, 32), (48, 16, 0.25, 9, 2), (32, 16, 0.75, 4, 3)],
)
def test_as_many_squares_are_masked_as_asked_for(
    size: int, mask_size: int | None, share: float, squares: int, masked: int
) -> None:
    # Swin's toy has a token for each 8 pixels.
    encoder = vision_encoder("swin_toy", dim=None, image_size=size)
    model = MaskedImage(encoder, mask_share=share, mask_size=mask_size)
    masks = model.assemble({"image": photos(size, count=64)}, SEED)["mask"].numpy().reshape(64, -1)
    assert masks.shape[1] == squares
    np.testing.assert_array_equal(masks.sum(axis=1), np.full(64, masked))
    # Every square has the same chance, and masks differ.
    assert np.abs(masks.mean(axis=0) - masked / squares).max() < 4 * np.sqrt(0.25 / 64)
    assert len(np.unique(masks, axis=0)) > min(squares, 20) / 2


@pytest.mark.parametrize(
    ("image_size", "stride", "expected"), [(224, 16, 32), (224, 14, 28), (192, 32, 32), (224, 32, 32), (64, 8, 8)]
)
def test_squares_are_about_a_seventh_of_the_image(image_size: int, stride: int, expected: int) -> None:
    encoder = vision_encoder("vit_toy", dim=None, image_size=16)
    arguments = encoder.arguments | {"patch_size": stride, "num_layers": 1}
    assert MaskedImage(type(encoder)("vit", arguments, image_size=image_size, dim=None)).mask_size == expected


def test_the_same_seed_gives_the_same_batch_in_a_parallel_pipeline_and_another_another() -> None:
    model = toy("vit")
    examples = {"image": photos(model.image_size)}
    numbers = tf.data.Dataset.range(4, output_type=tf.int32)
    batches = numbers.map(lambda number: model.assemble(examples, tf.stack([number, 7])), num_parallel_calls=4)
    for number, batch in enumerate(batches):
        expected = model.assemble(examples, tf.constant([number, 7]))
        assert batch["image"].dtype == tf.uint8
        np.testing.assert_array_equal(batch["image"], expected["image"])
        np.testing.assert_array_equal(batch["mask"], expected["mask"])
    other = model.assemble(examples, SEED)
    assert (other["image"].numpy() != expected["image"].numpy()).any()
    assert (other["mask"].numpy() != expected["mask"].numpy()).any()


def test_a_record_becomes_pixels() -> None:
    toy_encoder = make_toy("vision-vit")
    image = MaskedImage(toy_encoder.encoder).decode({"image": toy_encoder.raw[0], "title": tf.constant("")})["image"]
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(image, toy_encoder.inputs[0])


def test_all_that_learns_gets_a_gradient(model: MaskedImage) -> None:
    check_gradients(model)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_all_that_learns_gets_a_gradient_in_half_precision(family: str) -> None:
    check_gradients(toy(family, "mixed_bfloat16"))


def check_gradients(model: MaskedImage) -> None:
    with tf.GradientTape() as tape:
        scalars = model.losses_of(batch_of(model))
    assert all(value.dtype == tf.float32 and value.shape == () for value in scalars.values())
    variables = {variable.path: variable.value for variable in model.trainable_variables}
    gradients = tape.gradient(scalars["loss"], variables)
    # Neither the projection nor what only pools is among the variables, or it would have none.
    assert [path for path, gradient in gradients.items() if gradient is None] == []
    norms = np.array([float(tf.norm(tf.convert_to_tensor(gradient))) for gradient in gradients.values()])
    assert np.isfinite(norms).all()
    # Biases of keys, alone, shift all of a query's scores alike and have none.
    assert (norms > 0).mean() > 0.9


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_some_steps_lower_the_loss_below_that_of_the_mean_colour(family: str) -> None:
    model = toy(family)
    # Colours that run through the image can be told from what is around.
    rows, columns = np.indices((model.image_size, model.image_size)) * 6
    image = np.stack([rows, columns, rows[::-1]], axis=-1).astype(np.uint8)
    batch = model.assemble({"image": tf.constant(np.stack([image] * 8))}, SEED)
    optimizer = keras.optimizers.Adam(3e-3)
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step() -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            scalars = model.losses_of(batch)
        gradients = tape.gradient(scalars["loss"], [variable.value for variable in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return scalars

    first = step()
    for _ in range(40):
        last = step()
    assert last["loss"] < 0.5 * first["loss"]
    assert last["loss"] < last["mean_colour_loss"]


def test_convolutions_are_refused_with_the_objective_that_takes_them() -> None:
    with pytest.raises(ValueError, match=r"`vision` must be a transformer; train resnet with `image_views`"):
        toy("resnet")


@pytest.mark.parametrize("mask_size", [0, -8, 12, 24])
def test_masks_that_do_not_fit_are_refused(mask_size: int) -> None:
    with pytest.raises(ValueError, match=rf"`mask_size` must be a multiple of 8, .* 32. Received: {mask_size}\."):
        toy("swin", mask_size=mask_size)


@pytest.mark.parametrize("mask_share", [0.0, 0.02, 0.98, 1.0, 2.0, -1.0])
def test_shares_that_leave_nothing_to_predict_or_to_see_are_refused(mask_share: float) -> None:
    with pytest.raises(ValueError, match=r"`mask_share` must leave some of an image's 16 squares masked and some"):
        toy("swin", mask_share=mask_share)


@pytest.mark.parametrize(("name", "size", "stride"), [("siglip_toy", 40, 16), ("swin_toy", 36, 8)])
def test_images_of_broken_strides_are_refused(name: str, size: int, stride: int) -> None:
    encoder = vision_encoder(name, dim=None, image_size=size)
    with pytest.raises(ValueError, match=rf"`image_size` must be a multiple of {stride}, .* Received: {size}\."):
        MaskedImage(encoder)
