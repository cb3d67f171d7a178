"""Our vision encoders against the reference implementations, with the same random weights."""

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

from mim_tf.encoders import vision_encoder
from mim_tf.encoders.vision_encoder import VisionEncoder
from parity.case import Case

TOLERANCE = 1e-4  # float32, as a share of the largest value and at least absolutely


def load(case: Case) -> VisionEncoder:
    return vision_encoder(
        case.described["encoder"],
        dim=None,
        image_size=case.described["image_size"],
        weights=case.folder / "checkpoint",
    )


def test_outputs(case: Case) -> None:
    encoder = load(case)
    images = case.arrays["images"]
    outputs = encoder.backbone(images, training=False)
    for name in ("sequence", "pooled"):
        expected = case.arrays[name]
        assert outputs[name].shape == expected.shape
        np.testing.assert_allclose(outputs[name], expected, rtol=TOLERANCE, atol=TOLERANCE)
    alone = encoder.backbone(images[:1], training=False)
    np.testing.assert_allclose(alone["pooled"], case.arrays["pooled"][:1], rtol=TOLERANCE, atol=TOLERANCE)


def test_input_pipelines(case: Case) -> None:
    pixels = load(case).pixels
    expected = load_file(case.folder / "pixels.safetensors")["pixels"]
    for path, reference in zip(sorted((case.folder / "images").iterdir()), expected, strict=True):
        decoded = pixels.decode(tf.constant(path.read_bytes()), case.described["image_size"])
        level = 1 / 255 / np.asarray(pixels.std)  # one grey level, after normalisation
        difference = np.abs(pixels.normalise(decoded).numpy() - reference) / level
        assert difference.max() < 1.01, f"{path.name}: {difference.max():.2f} grey levels"
