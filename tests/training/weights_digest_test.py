"""The digest of weights: the same for the same values in the same order, whatever lies how in memory."""

import hashlib
import re

import numpy as np
import pytest

from mim_tf.training.weights_digest import tell_weights

KERNEL = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
STEP = np.int64(7)


def told(capsys: pytest.CaptureFixture[str], *weights: np.ndarray) -> str:
    tell_weights("csft", weights)
    found = re.fullmatch(r"csft: weights ([0-9a-f]{16})\n", capsys.readouterr().err)
    assert found
    return found[1]


def test_it_is_of_the_bytes_of_all_values(capsys: pytest.CaptureFixture[str]) -> None:
    # 1, 2, 3, 4 in float32 and 7 in int64, little-endian.
    content = bytes.fromhex("0000803f 00000040 00004040 00008040 0700000000000000")
    assert told(capsys, KERNEL, STEP) == hashlib.sha256(content).hexdigest()[:16]
    assert told(capsys, np.asfortranarray(KERNEL), STEP) == told(capsys, KERNEL, STEP)


def test_one_bit_or_another_order_makes_another(capsys: pytest.CaptureFixture[str]) -> None:
    other = KERNEL.copy()
    other[1, 1] = np.nextafter(np.float32(4), np.float32(5))
    digests = {told(capsys, *weights) for weights in ((KERNEL, STEP), (other, STEP), (STEP, KERNEL), (KERNEL.T, STEP))}
    assert len(digests) == 4
