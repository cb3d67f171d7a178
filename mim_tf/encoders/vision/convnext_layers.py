"""ConvNeXt's layers: the residual block of both versions, and what stands between its stages.

Each formula is written for TensorFlow's fast kernels on a CPU; the results are those of the papers' formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

EPSILON = 1e-6  # of all norms, where a checkpoint does not say otherwise
_KERNEL = 7  # side of the depthwise convolution, places
_EXPANSION = 4
_LAYER_SCALE = 1e-6  # at the start: a block begins as nearly the identity

Shape = tuple[Any, ...]  # numbers, and None for what is not known yet
Gradient = Callable[[tf.Tensor], tf.Tensor]


@tf.custom_gradient
def exact_gelu(inputs: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`x Φ(x)`, with the distribution function of the normal distribution, `Φ(x) = (erf(x / √2) + 1) / 2`.

    Its gradient, `Φ(x) + x φ(x)` with the density φ, is written out: TensorFlow's own keeps one more of the network's
    widest tensors in float32.

    Args:
        inputs: any shape.

    Returns:
        The same shape; computed in float32.

    Reference: Hendrycks & Gimpel, Gaussian Error Linear Units (arXiv 1606.08415).
    """
    values = tf.cast(inputs, tf.float32)
    # In this order TensorFlow fuses it with the matrix product before it. `tf.nn.gelu` is fused too; but in training,
    # where neither can be, its `erfc` takes several times as long as `erf`.
    distribution = (tf.math.erf(values * math.sqrt(0.5)) + 1.0) * 0.5

    def gradient(outer: tf.Tensor) -> tf.Tensor:
        density = tf.exp(-0.5 * tf.square(values)) / math.sqrt(2 * math.pi)
        return tf.cast(tf.cast(outer, tf.float32) * (distribution + values * density), outer.dtype)

    return tf.cast(distribution * values, inputs.dtype), gradient


@keras.utils.register_keras_serializable(package="mim_tf")
class ChannelNorm(keras.Layer):
    """Layer normalisation over the channels, `γ (x - mean) / √(variance + ε) + β`.

    As Keras', in about two thirds of its time on a CPU: the centred values serve both the variance and the result.

    Args:
        epsilon: added to the variance.

    Call arguments:
        inputs: `[..., channels]`.

    Returns:
        The same shape; computed in float32.

    Reference: Ba et al., Layer Normalization (arXiv 1607.06450).
    """

    def __init__(self, *, epsilon: float = EPSILON, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        """Make the variables, one value per channel."""
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise each place by itself."""
        values = tf.cast(inputs, tf.float32)
        centred = values - tf.reduce_mean(values, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normalised = centred * tf.math.rsqrt(variance + self.epsilon)
        outputs = normalised * tf.cast(self.gamma, tf.float32) + tf.cast(self.beta, tf.float32)
        return tf.cast(outputs, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments beside the base config."""
        return {**super().get_config(), "epsilon": self.epsilon}


@tf.custom_gradient
def _spatial_norm(inputs: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`‖x‖₂` over the places, `[batch, height, width, channels]` to `[batch, 1, 1, channels]`.

    TensorFlow's kernel reads its input once, but its gradient is NaN where all places are zero; here it is zero.
    """
    norms = tf.math.reduce_euclidean_norm(inputs, axis=[1, 2], keepdims=True)
    return norms, lambda gradient: inputs * tf.math.divide_no_nan(gradient, norms)


@keras.utils.register_keras_serializable(package="mim_tf")
class GlobalResponseNorm(keras.Layer):
    """Global response normalisation: the channels of an image compete for their share of its response.

    `G_c = ‖X_c‖₂` over all places, `N_c = G_c / (mean over channels of G + ε)`, `out = γ (X N) + β + X`, which is
    computed as `X (1 + γ N) + β`. It starts as the identity.

    Call arguments:
        inputs: `[batch, height, width, channels]`.

    Returns:
        The same shape; the norms are computed in float32, whose range their squares need.

    Reference: Woo et al., ConvNeXt V2 (arXiv 2301.00808), section 4 and algorithm 1.
    """

    def build(self, input_shape: Shape) -> None:
        """Make the variables, one value per channel."""
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="zeros")
        self.beta = self.add_weight(name="beta", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Scale the channels of each image by their share."""
        norms = _spatial_norm(tf.cast(inputs, tf.float32))  # [batch, 1, 1, channels]
        shares = norms / (tf.reduce_mean(norms, axis=-1, keepdims=True) + EPSILON)
        scales = 1.0 + tf.cast(self.gamma, tf.float32) * shares
        return tf.nn.bias_add(inputs * tf.cast(scales, inputs.dtype), tf.cast(self.beta, inputs.dtype))


@keras.utils.register_keras_serializable(package="mim_tf")
class ConvNeXtBlock(keras.Layer):
    """One residual block: places are mixed channel by channel, then channels place by place.

    Version 1: `x + λ (W₂ gelu(W₁ LN(D x)))`, with D a 7 x 7 depthwise convolution and λ LayerScale.
    Version 2: `x + W₂ GRN(gelu(W₁ LN(D x)))`.

    Args:
        response_norm: version 2, with GRN in place of LayerScale.

    Call arguments:
        inputs: `[batch, height, width, channels]`.

    Returns:
        The same shape.

    Reference: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545), figure 4; version 2: Woo et al., ConvNeXt V2
    (arXiv 2301.00808), figure 5.
    """

    def __init__(self, *, response_norm: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.response_norm = response_norm

    def build(self, input_shape: Shape) -> None:
        """Make the layers within, and LayerScale."""
        channels, policy = input_shape[-1], self.dtype_policy
        hidden = _EXPANSION * channels
        self.depthwise = keras.layers.DepthwiseConv2D(
            _KERNEL, padding="same", depthwise_initializer=initial(), name="depthwise", dtype=policy
        )
        self.norm = ChannelNorm(name="norm", dtype=policy)
        self.expansion = keras.layers.Dense(hidden, kernel_initializer=initial(), name="expansion", dtype=policy)
        self.projection = keras.layers.Dense(channels, kernel_initializer=initial(), name="projection", dtype=policy)
        self.depthwise.build(input_shape)
        self.norm.build(input_shape)
        self.expansion.build((None, channels))
        self.projection.build((None, hidden))
        if self.response_norm:
            self.response = GlobalResponseNorm(name="response", dtype=policy)
            self.response.build((*input_shape[:-1], hidden))
        else:
            constant = keras.initializers.Constant(_LAYER_SCALE)
            self.layer_scale = self.add_weight(name="layer_scale", shape=(channels,), initializer=constant)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Add to the input what the block makes of it."""
        batch, height, width, channels = _shape(inputs)
        # On a matrix of places, not on maps, TensorFlow fuses a product with its bias and activation.
        places = tf.reshape(self.norm(self.depthwise(inputs)), [-1, channels])
        hidden = exact_gelu(self.expansion(places))
        if self.response_norm:
            maps = self.response(tf.reshape(hidden, [batch, height, width, _EXPANSION * channels]))
            hidden = tf.reshape(maps, [-1, _EXPANSION * channels])
        outputs = self.projection(hidden)
        if not self.response_norm:
            outputs *= tf.cast(self.layer_scale, outputs.dtype)
        return inputs + tf.reshape(outputs, [batch, height, width, channels])

    def get_config(self) -> dict[str, Any]:
        """The arguments beside the base config."""
        return {**super().get_config(), "response_norm": self.response_norm}


@keras.utils.register_keras_serializable(package="mim_tf")
class Downsampling(keras.Layer):
    """Between two stages: a norm, and a convolution of squares of 2 x 2 places; an odd row or column is left out.

    Args:
        channels: of the output.

    Call arguments:
        inputs: `[batch, height, width, channels]`.

    Returns:
        `[batch, height // 2, width // 2, channels]`.

    Reference: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545), section 2.6.
    """

    def __init__(self, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        self.norm = ChannelNorm(name="norm", dtype=self.dtype_policy)
        self.convolution = keras.layers.Conv2D(
            channels, 2, 2, kernel_initializer=initial(), name="convolution", dtype=self.dtype_policy
        )

    def build(self, input_shape: Shape) -> None:
        """Build the layers within."""
        self.norm.build(input_shape)
        self.convolution.build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Halve height and width."""
        return self.convolution(self.norm(inputs))

    def get_config(self) -> dict[str, Any]:
        """The arguments beside the base config."""
        return {**super().get_config(), "channels": self.channels}


def initial() -> keras.initializers.Initializer:
    """What all matrices and convolutions start from in the authors' code."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _shape(tensor: tf.Tensor) -> list[int | tf.Tensor]:
    """Each axis' size, as a number where it is known when the graph is built."""
    dynamic = tf.unstack(tf.shape(tensor))
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]
