"""Random views: other pixels of the same product, in the size the encoder takes, the same for the same seed."""

import colorsys
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.augmentation import Strength, _boxes, image_augmenter

SIZE = 32
STRENGTHS = get_args(Strength)
SEED = tf.constant([3, 4])


def photos(count: int) -> tf.Tensor:
    """Noise, in which no two places look alike."""
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8))


def plain(colour: list[int], count: int = 256) -> tf.Tensor:
    return tf.constant(np.broadcast_to(np.array(colour, np.uint8), (count, SIZE, SIZE, 3)))


@pytest.fixture(params=STRENGTHS)
def strength(request: pytest.FixtureRequest) -> Strength:
    return request.param


def test_views_are_other_pixels_of_the_same_shape_and_dtype(strength: Strength) -> None:
    images = photos(8)
    views = image_augmenter(SIZE, strength)(images, SEED)
    assert views.dtype == tf.uint8
    assert views.shape == images.shape
    differences = np.abs(views.numpy().astype(int) - images.numpy().astype(int)).mean(axis=(1, 2, 3))
    assert differences.min() > 10  # each image is changed


def test_a_batch_of_one_is_a_batch(strength: Strength) -> None:
    assert image_augmenter(SIZE, strength)(photos(1), SEED).shape == (1, SIZE, SIZE, 3)


def test_the_same_seed_gives_the_same_bytes_and_another_others(strength: Strength) -> None:
    images, augment = photos(8), image_augmenter(SIZE, strength)
    views = augment(images, SEED)
    np.testing.assert_array_equal(image_augmenter(SIZE, strength)(images, SEED), views)
    assert (augment(images, tf.constant([3, 5])).numpy() != views.numpy()).any(axis=(1, 2, 3)).all()


def test_bytes_are_the_same_in_a_parallel_pipeline_in_whatever_order(strength: Strength) -> None:
    images, augment = photos(8), image_augmenter(SIZE, strength)

    def views(numbers: tf.data.Dataset) -> dict[int, np.ndarray]:
        def view(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return number, augment(images, tf.stack([number, 7]))

        parallel = numbers.map(view, num_parallel_calls=4, deterministic=False)
        return {int(number): pixels.numpy() for number, pixels in parallel}

    forwards = views(tf.data.Dataset.range(6, output_type=tf.int32))
    backwards = views(tf.data.Dataset.range(5, -1, -1, output_type=tf.int32))
    for number in range(6):
        np.testing.assert_array_equal(forwards[number], backwards[number])
        # Outside of a pipeline the graph is optimised in another way, and a rounding may fall to the other side.
        alone = augment(images, tf.constant([number, 7])).numpy().astype(int)
        np.testing.assert_allclose(forwards[number], alone, atol=1)


def test_each_image_of_a_batch_is_changed_in_its_own_way(strength: Strength) -> None:
    same = tf.repeat(photos(1), 8, axis=0)
    views = image_augmenter(SIZE, strength)(same, SEED).numpy()
    assert len({view.tobytes() for view in views}) == 8


def test_about_half_of_the_views_are_mirrored(strength: Strength) -> None:
    # Dark on the left, bright on the right: no crop and no change of colour can turn that round.
    ramp = np.linspace(50, 200, SIZE).astype(np.uint8)[np.newaxis, :, np.newaxis]
    images = tf.constant(np.broadcast_to(ramp, (256, SIZE, SIZE, 3)))
    views = image_augmenter(SIZE, strength)(images, SEED).numpy().astype(int)
    mirrored = views[:, :, : SIZE // 2].mean(axis=(1, 2, 3)) > views[:, :, SIZE // 2 :].mean(axis=(1, 2, 3))
    # 128 of 256 with a standard deviation of 8.
    assert 100 < mirrored.sum() < 156


@pytest.mark.parametrize(("strength", "least"), [("mild", 0.6), ("strong", 0.2)])
def test_crops_keep_the_least_share_of_the_area(strength: Strength, least: float) -> None:
    # 32 by 32 fields of a chess board. How many are left in a row or a column no change of colour alters.
    board = np.kron(np.indices((32, 32)).sum(axis=0) % 2, np.ones((2, 2)))
    image = np.repeat(80 + 100 * board[..., np.newaxis], 3, axis=-1).astype(np.uint8)
    views = image_augmenter(64, strength)(tf.constant(np.stack([image] * 256)), SEED).numpy().mean(axis=-1)
    bright = views > views.mean(axis=(1, 2), keepdims=True)
    # The median over lines: one that falls between two fields is grey all along.
    widths = np.median((bright[:, :, 1:] != bright[:, :, :-1]).sum(axis=2), axis=1) / 31
    heights = np.median((bright[:, 1:] != bright[:, :-1]).sum(axis=1), axis=1) / 31
    areas = widths * heights
    assert 0.8 * least < areas.min() < 1.2 * least
    assert areas.max() > 0.9
    assert 1.1 < (widths / heights).max() < 1.5


def test_boxes_lie_anywhere_in_the_image_independently_of_each_other() -> None:
    tops, starts, bottoms, ends = _boxes(tf.constant(4096), SEED, (0.2, 0.6), (0.8, 1.25)).numpy().T
    lefts, rights = np.minimum(starts, ends), np.maximum(starts, ends)
    heights, widths = bottoms - tops, rights - lefts
    assert min(tops.min(), lefts.min()) >= 0
    assert max(bottoms.max(), rights.max()) < 1 + 1e-6
    drawn = np.stack(
        [
            (heights * widths - 0.2) / 0.4,
            (widths / heights - 0.8) / 0.45,
            tops / (1 - heights),
            lefts / (1 - widths),
            starts > ends,
        ]
    )
    # All five are uniform from 0 to 1, the last a coin: means of 0.5 with standard deviations of at most 0.5 / 64, the
    # others' quarters at 0.25 and 0.75, and no correlation.
    np.testing.assert_allclose(drawn.mean(axis=1), 0.5, atol=0.03)
    np.testing.assert_allclose(np.quantile(drawn[:4], [0.25, 0.75], axis=1).T, [[0.25, 0.75]] * 4, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(drawn), np.eye(5), atol=0.06)


def test_mild_views_of_a_plain_image_keep_its_colour_up_to_a_tenth_of_brightness() -> None:
    red = plain([200, 40, 40])
    shifts = image_augmenter(SIZE)(red, SEED).numpy().astype(int) - red.numpy()
    assert np.ptp(shifts, axis=(1, 2, 3)).max() == 0  # one shift for the whole image, all of its channels
    assert 24 <= np.abs(shifts).max() <= 26  # 10% of 255
    assert shifts.min() < 0 < shifts.max()


def test_strong_views_turn_grey_one_time_in_ten_and_hue_little_otherwise() -> None:
    views = image_augmenter(SIZE, "strong")(plain([180, 90, 60], 512), SEED).numpy()[:, 0, 0] / 255
    grey = np.ptp(views, axis=1) < 0.01
    assert 25 < grey.sum() < 80  # 51 of 512 with a standard deviation of 7
    hues = np.array([colorsys.rgb_to_hsv(*colour)[0] for colour in views[~grey]])
    turns = hues - colorsys.rgb_to_hsv(180, 90, 60)[0]
    # Two hundredths of the colour circle; whole grey levels and clipped channels add a little.
    assert np.abs(turns).max() < 0.04
    assert np.quantile(np.abs(turns), 0.9) > 0.012


def test_strong_views_are_brighter_or_darker_by_up_to_a_fifth() -> None:
    # Plain grey has neither contrast nor hue nor saturation to change.
    shifts = image_augmenter(SIZE, "strong")(plain([128] * 3), SEED).numpy().astype(int) - 128
    assert -51 <= shifts.min() < -45
    assert 45 < shifts.max() <= 51


def test_strong_views_have_between_three_and_seven_fifths_of_the_contrast() -> None:
    # Stripes so narrow that every crop shows both kinds.
    stripes = np.where(np.arange(SIZE) // 4 % 2, 150, 100).astype(np.uint8)[np.newaxis, :, np.newaxis]
    images = tf.constant(np.broadcast_to(stripes, (256, SIZE, SIZE, 3)))
    differences = np.ptp(image_augmenter(SIZE, "strong")(images, SEED).numpy().astype(int), axis=(1, 2, 3))
    assert 29 <= differences.min() < 35  # 50 * 0.6
    assert 65 < differences.max() <= 71  # 50 * 1.4


def test_strong_views_are_more_or_less_saturated() -> None:
    # A plain image has no contrast to change. Brightness leaves differences of channels as they are, and hue that of
    # the largest and the smallest.
    views = image_augmenter(SIZE, "strong")(plain([150, 120, 90]), SEED).numpy()[:, 0, 0].astype(int)
    differences = np.ptp(views, axis=1)
    coloured = differences[differences > 1]
    assert 35 <= coloured.min() < 40  # 60 * 0.6
    assert 80 < coloured.max() <= 85  # 60 * 1.4


def test_an_unknown_strength_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"`strength` must be one of mild, strong. Received: 'wild'"):
        image_augmenter(SIZE, "wild")  # type: ignore[arg-type]
