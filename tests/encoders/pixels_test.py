"""What published checkpoints say about their input side, and what is made of it."""

import io
import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.encoders.pixels import Pixels
from mim_tf.encoders.preprocessors import pixels_of, pixels_of_converter

HALF, HALVES = (0.5, 0.5, 0.5), {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"image_mean": list(MEAN), "image_std": list(STD)}
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 0.00392156862745098}
OLD = {"do_resize": True, "do_normalize": True}
SQUARE = {"height": 224, "width": 224}
CONVNEXT = OLD | {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "resample": 3} | IMAGENET
SIGLIP = {"image_processor_type": "SiglipImageProcessor", "size": SQUARE} | HALVES
TIMM = {"input_size": [3, 224, 224], "fixed_input_size": True, "interpolation": "bicubic", "crop_mode": "center"}
DEFAULT = Pixels(crop=0.9, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))

# The files by name, and the input side that they mean: size, the sides of the scaled image and the square, and so on.
PUBLISHED: dict[str, tuple[dict[str, Any], tuple[int, Pixels]]] = {
    "google/vit-base-patch16-224, old": (
        {"preprocessor_config.json": OLD | HALVES | {"resample": 2, "size": 224}},
        (224, Pixels(None, "bilinear", HALF, HALF)),
    ),
    "google/vit-base-patch16-224": (
        {"preprocessor_config.json": STEPS | HALVES | {"resample": 2, "size": SQUARE}},
        (224, Pixels(None, "bilinear", HALF, HALF)),
    ),
    "facebook/deit-base-patch16-384": (  # a ViT; its processor squeezes to 438, then cuts
        {
            "config.json": {"image_size": 384},
            "preprocessor_config.json": OLD
            | IMAGENET
            | {
                "feature_extractor_type": "DeiTFeatureExtractor",
                "resample": 3,
                "size": 438,
                "crop_size": 384,
                "do_center_crop": True,
            },
        },
        (384, Pixels(384 / 438, "bicubic", MEAN, STD, squeezed=True, rounded=True)),
    ),
    "facebook/dinov2-base": (
        {
            "config.json": {"image_size": 518},
            "preprocessor_config.json": STEPS
            | IMAGENET
            | {"crop_size": SQUARE, "do_center_crop": True, "resample": 3, "size": {"shortest_edge": 256}},
        },
        (224, Pixels(0.875, "bicubic", MEAN, STD, rounded=True)),
    ),
    "facebook/dinov3-vits16-pretrain-lvd1689m": (
        {"preprocessor_config.json": STEPS | IMAGENET | {"crop_size": None, "do_center_crop": None, "size": SQUARE}},
        (224, Pixels(None, "bicubic", MEAN, STD)),
    ),
    "google/siglip-base-patch16-224": (
        {"config.json": {"vision_config": {"image_size": 256}}, "preprocessor_config.json": SIGLIP | {"resample": 3}},
        (224, Pixels(None, "bicubic", HALF, HALF)),
    ),
    "google/siglip2-base-patch16-224, by transformers 5": (  # which prefers the nested one
        {
            "processor_config.json": {
                "image_processor": SIGLIP | {"resample": 2},
                "processor_class": "SiglipProcessor",
            },
            "preprocessor_config.json": SIGLIP | {"resample": 3},
        },
        (224, Pixels(None, "bilinear", HALF, HALF)),
    ),
    "google/siglip-base-patch16-224, with an older processor_config.json": (
        {
            "processor_config.json": {"processor_class": "SiglipProcessor"},
            "preprocessor_config.json": SIGLIP | {"resample": 3},
        },
        (224, Pixels(None, "bicubic", HALF, HALF)),
    ),
    "microsoft/swin-tiny-patch4-window7-224": (
        {"preprocessor_config.json": OLD | IMAGENET | {"resample": 3, "size": 224}},
        (224, Pixels(None, "bicubic", MEAN, STD)),
    ),
    "microsoft/resnet-50": (
        {"preprocessor_config.json": CONVNEXT | {"size": 224}},
        (224, Pixels(0.875, "bicubic", MEAN, STD)),
    ),
    "microsoft/resnet-50, newer": (
        {"preprocessor_config.json": CONVNEXT | {"size": {"shortest_edge": 224}}},
        (224, Pixels(0.875, "bicubic", MEAN, STD)),
    ),
    "facebook/convnext-tiny-224": (
        {"config.json": {"image_size": 224}, "preprocessor_config.json": CONVNEXT | {"size": 224}},
        (224, Pixels(0.875, "bicubic", MEAN, STD)),
    ),
    "facebook/convnext-base-384": (
        {"config.json": {"image_size": 224}, "preprocessor_config.json": CONVNEXT | {"size": {"shortest_edge": 384}}},
        (384, Pixels(None, "bicubic", MEAN, STD)),
    ),
    "convnext whose crop_pct is null": (  # ConvNextImageProcessor.crop_pct = 224 / 256
        {"preprocessor_config.json": CONVNEXT | {"crop_pct": None, "size": {"shortest_edge": 256}}},
        (256, Pixels(224 / 256, "bicubic", MEAN, STD)),
    ),
    "timm/vit_base_patch16_224.augreg_in21k": (
        {
            "config.json": {
                "architecture": "vit_base_patch16_224",
                "pretrained_cfg": TIMM | {"crop_pct": 0.9, "mean": HALF, "std": HALF},
            }
        },
        (224, Pixels(0.9, "bicubic", HALF, HALF, centre_to_even=True)),
    ),
    "timm/convnextv2_tiny.fcmae_ft_in22k_in1k_384": (
        {
            "config.json": {
                "architecture": "convnextv2_tiny",
                "pretrained_cfg": TIMM
                | {"input_size": [3, 384, 384], "crop_pct": 1.0, "crop_mode": "squash", "mean": MEAN, "std": STD},
            }
        },
        (384, Pixels(None, "bicubic", MEAN, STD, centre_to_even=True)),
    ),
    "timm, squashed and cut": (
        {"config.json": {"pretrained_cfg": TIMM | {"crop_pct": 0.95, "crop_mode": "squash", "mean": MEAN, "std": STD}}},
        (224, Pixels(0.95, "bicubic", MEAN, STD, centre_to_even=True, squeezed=True)),
    ),
    "timm, null for what it has defaults for": (
        {"config.json": {"pretrained_cfg": {"input_size": [3, 288, 288], "crop_pct": None, "mean": None}}},
        (288, Pixels(0.875, "bicubic", MEAN, STD, centre_to_even=True)),
    ),
    "timm, made at another size": (
        {"config.json": {"model_args": {"img_size": 448}, "pretrained_cfg": TIMM | {"crop_pct": 0.9}}},
        (448, Pixels(0.9, "bicubic", MEAN, STD, centre_to_even=True)),
    ),
    "timm, made for images of any size": (
        {
            "config.json": {
                "model_args": {"img_size": 448, "dynamic_img_size": True},
                "pretrained_cfg": TIMM | {"crop_pct": 0.9},
            }
        },
        (224, Pixels(0.9, "bicubic", MEAN, STD, centre_to_even=True)),
    ),
    "timm, older and flat": (
        {
            "config.json": {
                "architecture": "convnextv2_tiny",
                "input_size": [3, 224, 224],
                "crop_pct": 0.95,
                "interpolation": "bilinear",
                "mean": HALF,
                "std": STD,
            }
        },
        (224, Pixels(0.95, "bilinear", HALF, STD, centre_to_even=True)),
    ),
    "only config.json": ({"config.json": {"image_size": 192}}, (192, DEFAULT)),
    "only config.json, of two towers": ({"config.json": {"vision_config": {"image_size": 160}}}, (160, DEFAULT)),
    "nothing": ({}, (224, DEFAULT)),
    "without normalisation": (
        {"preprocessor_config.json": {"do_normalize": False, "image_mean": None, "size": 224}},
        (224, Pixels(None, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
    ),
}


def read(folder: Path, files: dict[str, Any]) -> tuple[int, Pixels]:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return pixels_of(folder, files.get("config.json", {}), DEFAULT)


@pytest.mark.parametrize(("files", "expected"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_checkpoints_tell_size_and_preprocessing(
    tmp_path: Path, files: dict[str, Any], expected: tuple[int, Pixels]
) -> None:
    assert read(tmp_path, files) == expected


CROPPED = {"do_center_crop": True, "size": {"shortest_edge": 256}}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"do_resize": False}, r"`do_resize` must be true.*Received: False"),
        ({"do_rescale": False}, r"`do_rescale` must be true.*Received: False"),
        ({"do_pad": True}, r"`do_pad` must be false.*Received: True"),
        ({"rescale_factor": 1 / 127.5}, r"`rescale_factor` must be 1/255\. Received: 0\.0078"),
        ({"resample": 1}, r"`resample` must be one of 2, 3\. Received: 1"),
        ({"image_mean": None}, r"`image_mean` must be three numbers\. Received: None"),
        ({"image_std": [0.5]}, r"`image_std` must be three numbers\. Received: \[0\.5\]"),
        ({"size": {"height": 224, "width": 192}}, r"`size` must be the side of a square.*'width': 192"),
        ({"size": {"longest_edge": 224}}, r"`size` must be the side of a square.*longest_edge"),
        ({"size": {"shortest_edge": 224, "longest_edge": 640}}, r"`size` must be the side of a square.*640"),
        ({"size": {"shortest_edge": 224}}, r"`do_center_crop` must be true with a shortest edge.*Received: False"),
        (CROPPED | {"size": None}, r"`size` must be the side of a square.*Received: None"),
        (CROPPED, r"`crop_size` must be the side of a square.*Received: None"),
        (CROPPED | {"crop_size": [224, 192]}, r"`crop_size` must be the side of a square.*\[224, 192\]"),
        (CROPPED | {"crop_size": 257}, r"`crop_size` must be at most `size`, 256.*Received: 257"),
        (CONVNEXT | {"size": SQUARE}, r"`size` must be a shortest edge with `crop_pct`.*'height': 224"),
        (CONVNEXT | CROPPED | {"crop_size": 224}, r"`crop_size` must be the shortest edge 256\. Received: 224"),
        (CONVNEXT | {"size": 224, "crop_pct": 1.5}, r"`crop_pct` must be above 0 and at most 1\. Received: 1\.5"),
    ],
)
def test_preprocessing_of_transformers_that_is_not_done_here_is_refused(
    tmp_path: Path, config: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=rf"/preprocessor_config\.json: {match}"):
        read(tmp_path, {"preprocessor_config.json": config})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"crop_mode": "border"}, r"`crop_mode` must be one of center, squash\. Received: 'border'"),
        ({"interpolation": "lanczos"}, r"`interpolation` must be one of bicubic, bilinear\. Received: 'lanczos'"),
        ({"input_size": [3, 224, 192]}, r"`input_size` must be the side of a square.*Received: \[224, 192\]"),
        ({"crop_pct": 0}, r"`crop_pct` must be above 0 and at most 1\. Received: 0"),
        ({"mean": 0.5}, r"`mean` must be three numbers\. Received: 0\.5"),
        ({"std": [1, 1]}, r"`std` must be three numbers\. Received: \[1, 1\]"),
    ],
)
def test_preprocessing_of_timm_that_is_not_done_here_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=rf"/config\.json: {match}"):
        read(tmp_path, {"config.json": {"pretrained_cfg": TIMM | changes}})


def converter(**changes: Any) -> SimpleNamespace:
    """What is read of keras-nlp's image converter."""
    plain = {
        "image_size": None,
        "scale": None,
        "offset": None,
        "crop_to_aspect_ratio": False,
        "pad_to_aspect_ratio": False,
        "interpolation": "bicubic",
    }
    return SimpleNamespace(**plain | changes)


@pytest.mark.parametrize(
    ("image_size", "backbone", "expected"),
    [((288, 288), 224, 288), ((288, 288), None, 288), (None, 256, 256), (None, None, 224)],
)
def test_a_converters_size_wins_over_its_backbones(
    image_size: tuple[int, int] | None, backbone: int | None, expected: int
) -> None:
    assert pixels_of_converter(converter(image_size=image_size), backbone)[0] == expected


def test_a_converter_scales_and_shifts() -> None:
    # x / 127.5 - 1 = (x / 255 - 1/2) / (1/2)
    _, pixels = pixels_of_converter(converter(scale=1 / 127.5, offset=-1.0, crop_to_aspect_ratio=True), None)
    assert (pixels.crop, pixels.interpolation) == (1.0, "bicubic")
    np.testing.assert_allclose([pixels.mean, pixels.std], 0.5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pad_to_aspect_ratio": True}, r"`pad_to_aspect_ratio` must be false.*Received: True"),
        ({"interpolation": "lanczos3"}, r"`interpolation` must be one of bicubic, bilinear\. Received: 'lanczos3'"),
        ({"image_size": (224, 192)}, r"`image_size` must be the side of a square.*Received: \(224, 192\)"),
    ],
)
def test_a_converter_that_is_not_followed_here_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        pixels_of_converter(converter(**changes), 224)


def test_the_shortest_edge_is_recovered_from_every_crop() -> None:
    wrong = [
        (edge, crop)
        for edge in range(1, 1025)
        for crop in range(1, edge + 1)
        if Pixels(crop=crop / edge, rounded=True).scaled_side(crop) != edge
    ]
    assert not wrong


def test_the_ratio_of_shortest_edge_and_crop_survives_another_size() -> None:
    pixels = Pixels(crop=224 / 256, rounded=True)
    for size in (28, 196, 448, 518):
        assert abs(pixels.scaled_side(size) - Fraction(size * 256, 224)) <= Fraction(1, 2)


@pytest.mark.parametrize(("size", "crop", "expected"), [(224, 0.9, 248), (224, 0.875, 256), (384, 0.95, 404)])
def test_a_fraction_is_rounded_down_as_timm_does(size: int, crop: float, expected: int) -> None:
    assert Pixels(crop=crop).scaled_side(size) == expected  # 248.9, 256, 404.2


@pytest.mark.parametrize("to_even", [False, True])
@pytest.mark.parametrize(("height", "width"), [(60, 91), (91, 60), (47, 47)])
@pytest.mark.parametrize("squeezed", [False, True])
def test_decoding_is_pillows_resize_and_crop(height: int, width: int, squeezed: bool, to_even: bool) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    pixels = Pixels(crop=28 / 33, interpolation="bicubic", squeezed=squeezed, rounded=True, centre_to_even=to_even)
    shorter = min(height, width)
    tall, wide = (33, 33) if squeezed else (33 * height // shorter, 33 * width // shorter)
    scaled = image.resize((wide, height), Image.Resampling.BICUBIC).resize((wide, tall), Image.Resampling.BICUBIC)
    top, left = (round((side - 28) / 2) if to_even else (side - 28) // 2 for side in (tall, wide))
    expected = np.asarray(scaled.crop((left, top, left + 28, top + 28)), np.float32)
    decoded = tf.function(lambda data: pixels.decode(data, 28))(tf.constant(buffer.getvalue()))
    assert decoded.shape == (28, 28, 3)
    np.testing.assert_allclose(decoded, expected, atol=1)


def test_pixels_survive_json() -> None:
    pixels = Pixels(crop=224 / 257, mean=MEAN, std=STD, squeezed=True, rounded=True)
    again = Pixels(**json.loads(json.dumps(asdict(pixels))))
    assert again.scaled_side(224) == 257
    assert json.dumps(asdict(again)) == json.dumps(asdict(pixels))
    grey = tf.fill([1, 1, 3], 128.0)
    np.testing.assert_array_equal(again.normalise(grey), pixels.normalise(grey))
