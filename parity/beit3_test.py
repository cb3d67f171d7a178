"""BEiT-3 of images and texts at once against torchscale, with the same random weights."""

import numpy as np

from mim_tf.encoders import text_encoder
from mim_tf.encoders.beit3 import load_joint
from parity.case import Case

TOLERANCE = 1e-4  # float32


def inputs(case: Case) -> dict[str, np.ndarray]:
    arrays = case.arrays
    return {"images": arrays["images"], "token_ids": arrays["token_ids"], "padding_mask": arrays["mask"]}


def test_outputs(case: Case) -> None:
    model = load_joint(case.folder / "checkpoint", image_size=case.described["image_size"])
    outputs = model(inputs(case), training=False)
    for name in ("sequence", "pooled"):  # of padding too
        expected = case.arrays[name]
        assert outputs[name].shape == expected.shape
        np.testing.assert_allclose(outputs[name], expected, rtol=TOLERANCE, atol=TOLERANCE)
    alone = model({name: array[:1] for name, array in inputs(case).items()}, training=False)
    np.testing.assert_allclose(alone["pooled"], case.arrays["pooled"][:1], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_text_of_a_joint_checkpoint_can_be_encoded_alone(case: Case) -> None:
    joint = load_joint(case.folder / "checkpoint")
    text = text_encoder("beit3", dim=None, length=16, weights=case.folder / "checkpoint").backbone
    shared = {variable.path: variable.numpy() for variable in joint.weights}
    assert all(np.array_equal(shared[variable.path], variable.numpy()) for variable in text.weights)
    assert len(text.weights) < len(shared) / 1.9
