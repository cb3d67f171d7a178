"""Reasons as clients read them; the first two are as TensorFlow 2.20 writes them."""

import pytest
import tensorflow as tf

from mim_tf.serving.server.grpc_status import message_of


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (
            "{{function_node __wrapped__StatefulPartitionedCall_device_/job:localhost/device:CPU:0}} /nowhere; No such "
            "file or directory [Op:StatefulPartitionedCall] name: ",
            "/nowhere; No such file or directory",
        ),
        (
            "Graph execution error:\n\nDetected at node Reshape defined at (most recent call last):\n"
            "<stack traces unavailable>\nInput to reshape is wrong\n\t [[{{node Reshape}}]] [Op:__inference_f_138]",
            "Input to reshape is wrong\n\t [[{{node Reshape}}]]",
        ),
        ("category {{a}} is none", "category {{a}} is none"),
        ("x" * 1025, "x" * 1024 + " ... (shortened)"),
    ],
)
def test_a_reason_is_told_without_its_location(written: str, reason: str) -> None:
    assert message_of(tf.errors.InternalError(None, None, written)) == reason
