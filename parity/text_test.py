"""Our text encoders against the reference implementations, with the same random weights."""

import numpy as np
import tensorflow as tf

from mim_tf.encoders import text_encoder
from mim_tf.encoders.text_encoder import TextEncoder
from parity.case import Case

TOLERANCE = 1e-4  # float32


def load(case: Case) -> TextEncoder:
    described = case.described
    return text_encoder(described["encoder"], dim=None, length=described["length"], weights=case.folder / "checkpoint")


def test_outputs(case: Case) -> None:
    encoder = load(case)
    token_ids, mask = case.arrays["token_ids"], case.arrays["mask"]
    outputs = encoder.backbone({"token_ids": token_ids, "padding_mask": mask}, training=False)
    sequence, expected = outputs["sequence"].numpy(), case.arrays["sequence"]
    assert sequence.shape == expected.shape
    np.testing.assert_allclose(sequence[mask], expected[mask], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(outputs["pooled"], case.arrays["pooled"], rtol=TOLERANCE, atol=TOLERANCE)
    alone = encoder.backbone({"token_ids": token_ids[:1], "padding_mask": mask[:1]}, training=False)
    np.testing.assert_allclose(alone["pooled"], case.arrays["pooled"][:1], rtol=TOLERANCE, atol=TOLERANCE)


def test_inputs(case: Case) -> None:
    encoder = load(case)
    titles = tf.constant(case.described["titles"])
    in_graph = tf.function(encoder.tokenize)(titles)
    for title, ours, theirs in zip(case.described["titles"], in_graph.numpy(), case.arrays["token_ids"], strict=True):
        assert ours.tolist() == theirs.tolist(), title
    np.testing.assert_array_equal(encoder.tokenizer.mask(in_graph), case.arrays["mask"])
    np.testing.assert_allclose(encoder.embed(titles), case.arrays["pooled"], rtol=1e-4, atol=1e-4)
