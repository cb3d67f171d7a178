"""deepCTR: from all that is known of an impression to a logit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import Dice

ACTIVATIONS: dict[str, type[keras.layers.Layer]] = {"dice": Dice, "prelu": keras.layers.PReLU}


@keras.utils.register_keras_serializable(package="mim_tf")
class DeepCTR(keras.layers.Layer):
    """An MLP, with crosses of its input before it if wanted.

    ```
    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l        the crosses of DCN-v2
    h_{l+1} = dropout(f(W h_l + b))              f: Dice or PReLU
    logit   = w . h + b
    ```

    Args:
        units: widths of the hidden layers.
        activation: `dice` or `prelu`.
        cross_layers: number of crosses; TFRS' layer with tf_keras, Keras-RS' with Keras 3.
        dropout: rate after each hidden layer.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        inputs: floating point, `[batch, width]`.
        training: whether dropout is on and Dice learns.

    Returns:
        Logits, `[batch]`, in at least float32.

    Raises:
        ValueError: an unknown `activation`, a width that is not positive, or a negative number of crosses.

    Example:
        >>> DeepCTR((8, 4), cross_layers=1)(tf.ones([2, 10])).shape
        TensorShape([2])

    Reference:
        Zhou et al., Deep Interest Network for Click-Through Rate Prediction (arXiv:1706.06978), figure 2; Wang et al.,
        DCN V2, equation 1 (arXiv:2008.13535).
    """

    def __init__(
        self,
        units: Sequence[int] = (128, 64),
        activation: str = "prelu",
        cross_layers: int = 0,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"`activation` must be one of {', '.join(sorted(ACTIVATIONS))}. Received: {activation!r}.")
        if cross_layers < 0 or any(size < 1 for size in units):
            raise ValueError(
                f"`units` must be positive and `cross_layers` not negative. Received: {tuple(units)}, {cross_layers}."
            )
        super().__init__(**kwargs)
        self.units, self.activation = tuple(units), activation
        self.cross_layers, self.dropout = cross_layers, dropout
        policy = self.dtype_policy
        self.crosses = [_cross(dtype=policy, name=f"cross_{i}") for i in range(cross_layers)]
        self.hidden = [keras.layers.Dense(size, dtype=policy, name=f"hidden_{i}") for i, size in enumerate(self.units)]
        self.activations = [
            ACTIVATIONS[activation](dtype=policy, name=f"{activation}_{i}") for i, _ in enumerate(self.units)
        ]
        self.dropouts = [keras.layers.Dropout(dropout, dtype=policy) for _ in self.units]
        self.logit = keras.layers.Dense(1, dtype="float32", name="logit")

    def build(self, inputs_shape: Any) -> None:
        """Create all weights."""
        width = inputs_shape[-1]
        for cross in self.crosses:
            cross.build((None, width))
        for dense, activation, size in zip(self.hidden, self.activations, self.units, strict=True):
            dense.build((None, width))
            activation.build((None, size))
            width = size
        self.logit.build((None, width))
        super().build(inputs_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the logits."""
        crossed = inputs
        for cross in self.crosses:
            crossed = cross(inputs, crossed)
        hidden = crossed
        for dense, activation, dropout in zip(self.hidden, self.activations, self.dropouts, strict=True):
            hidden = dropout(activation(dense(hidden), training=training), training=training)
        return tf.squeeze(self.logit(hidden), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": self.activation,
            "cross_layers": self.cross_layers,
            "dropout": self.dropout,
        }


def _cross(**kwargs: Any) -> keras.layers.Layer:
    """One cross of DCN-v2, of the library that knows the Keras of this process."""
    if hasattr(keras, "ops"):  # Keras 3
        import keras_rs

        return keras_rs.layers.FeatureCross(**kwargs)
    import tensorflow_recommenders as tfrs

    return tfrs.layers.dcn.Cross(**kwargs)
