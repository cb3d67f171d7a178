"""A signature of a loaded SavedModel as a function of flat tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mim_tf.serving.server.batch import Tensors
from mim_tf.serving.signature import Signature


class SignatureCall:
    """Calls a signature with tensors that are known to fit it.

    A loaded signature, called as a Python function, binds and checks its arguments each time, which can take longer
    than its graph. The op behind it takes them in the order of their names. A signature of which that is not sure, like
    those of TensorFlow 1, is called as a function.

    Args:
        function: The `ConcreteFunction` among the model's `signatures`.
        signature: What it takes and returns, sorted by name.
    """

    def __init__(self, function: Any, signature: Signature) -> None:
        self._function = function
        self._inputs, self._outputs = list(signature.inputs), list(signature.outputs)
        self._captured = list(function.captured_inputs)
        self._dtypes = [output.dtype for output in function.outputs]
        taken = [tensor.op.name for tensor in function.inputs]
        self._flat = (
            taken[: len(self._inputs)] == self._inputs
            and len(taken) == len(self._inputs) + len(self._captured)
            and sorted(function.structured_outputs) == self._outputs
            and len(self._dtypes) == len(self._outputs) > 0
        )

    def __call__(self, tensors: Tensors) -> Tensors:
        """Returns the outputs by name.

        Raises:
            tf.errors.OpError: Whatever the graph raises.
        """
        if not self._flat:
            return self._function(**tensors)
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=[*(tensors[name] for name in self._inputs), *self._captured], Tout=self._dtypes, f=self._function
        )
        return dict(zip(self._outputs, outputs, strict=True))
