"""DIEN: how interests follow from one another, and those of them that lead to the target."""

import math
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.augru import AUGRU
from mim_tf.interest.behaviours import as_given, checked
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.masked_softmax import masked_softmax
from mim_tf.interest.packed_steps import PackedSteps, gather_distinct
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class DIEN(InterestLayer):
    """Deep Interest Evolution Network: a GRU extracts an interest per behaviour, a second one follows the target's.

    ```
    h_t    = GRU(e_1 .. e_t)                                    interest extractor
    a_t    = softmax over t of (h_t W e_target)
    h'_t   = AUGRU(h_1 .. h_t; a_1 .. a_t)                      interest evolution
    h_ID_B = h'_T                                               T: the last real behaviour
    ```

    Training adds the auxiliary loss, which teaches each h_t to foretell the next behaviour:

    ```
    L_aux = -1/N sum_t [log sigmoid(<h_t, e_(t+1)>) + log(1 - sigmoid(<h_t, e^_(t+1)>))]
    ```

    The negative e^_(t+1) is what the next user of the batch has at the same position; a pair without a real one is left
    out, and in a batch of one all are. N counts pairs, as the mean in the authors' code does. (In print it counts
    users: the loss of long histories would then outweigh that of clicks.)

    A user's candidates share the extractor's interests and its loss; attention and evolution are each candidate's own.

    Args:
        auxiliary_weight: factor of the auxiliary loss, at least 0; 0 leaves it out. `model.fit` adds it to the loss; a
            training loop of one's own finds it in `model.losses`.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, `[batch, length, dim]`, oldest first.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN. A
            history without a real behaviour gives zeros.
        training: whether to add the auxiliary loss.

    Returns:
        The ID interest, `[batch, dim]`, or `[batch, candidates, dim]`, in the layer's compute dtype. Attention and loss
        are computed in at least float32.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` not boolean.
        ValueError: if `auxiliary_weight` is out of range, or the shapes do not fit each other.

    Example:
        >>> interest = DIEN()(tf.ones([2, 4]), tf.ones([2, 10, 4]))
        >>> interest.shape
        TensorShape([2, 4])

    Reference:
        Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, sections on interest extractor
        (auxiliary loss) and interest evolving layer (attention, AUGRU), arXiv:1809.03672. MIM, equation 1.
    """

    def __init__(self, auxiliary_weight: float = 1.0, **kwargs: Any) -> None:
        if not 0 <= auxiliary_weight < math.inf:
            raise ValueError(f"`auxiliary_weight` must be finite and at least 0. Received: {auxiliary_weight}.")
        super().__init__(**kwargs)
        self.supports_jit = False  # as AUGRU, which is not there before `build`
        self.auxiliary_weight = auxiliary_weight

    def build(self, target_shape: Any) -> None:
        """Make both recurrences and the attention."""
        dim = target_shape[-1]
        if dim is None:
            raise ValueError(f"`target` must have a known last dimension. Received: shape {target_shape}.")
        self.extractor = AUGRU(dim, dtype=self.dtype_policy, name="extractor")
        self.evolution = AUGRU(dim, dtype=self.dtype_policy, name="evolution")
        for recurrence in (self.extractor, self.evolution):
            recurrence.build((None, None, dim))
        self.attention_kernel = self.add_weight(name="attention_kernel", shape=(dim, dim), initializer="glorot_uniform")
        super().build(target_shape)

    def call(
        self,
        target: tf.Tensor,
        history: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Return the last state of the interest that leads to the target."""
        targets, history, real = checked(target, history, mask, self.compute_dtype)
        # Packed once for all: neither recurrence, attention nor loss spends time on padding.
        steps = PackedSteps.of(real)
        behaviours = steps.pack(history)
        interests = self.extractor.states_of(steps, behaviours)
        if training and self.auxiliary_weight > 0:
            self.add_loss(self.auxiliary_weight * self._auxiliary_loss(steps, real, interests, behaviours))
        states = self.evolution.states_of(steps, interests, self._attention(steps, real, interests, targets))
        return as_given(steps.last_of(states), target)

    def _attention(self, steps: PackedSteps, real: tf.Tensor, interests: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return a_t, `[real, candidates]`, of interests `[real, dim]`."""
        wide = at_least_float32(self.compute_dtype)
        towards = tf.einsum("bcd,ed->bce", tf.cast(targets, wide), tf.cast(self.attention_kernel, wide))
        scores = tf.matmul(towards, steps.unpack(tf.cast(interests, wide)), transpose_b=True)
        shares = masked_softmax(scores, real[:, tf.newaxis])  # [batch, candidates, length]
        return steps.pack(tf.transpose(shares, [0, 2, 1]))

    def _auxiliary_loss(
        self, steps: PackedSteps, real: tf.Tensor, interests: tf.Tensor, behaviours: tf.Tensor
    ) -> tf.Tensor:
        """Return L_aux, a scalar, of interests and behaviours `[real, dim]`; 0 where there is no pair."""
        wide = at_least_float32(self.compute_dtype)
        pairs = real[:, :-1] & real[:, 1:] & tf.roll(real[:, 1:], -1, axis=0)
        pairs &= tf.shape(real)[0] > 1  # a user alone would be their own negative

        def paired(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            return tf.cast(gather_distinct(values, tf.boolean_mask(rows, pairs)), wide)  # [pairs, dim]

        now, following = steps.latest[:, :-1], steps.latest[:, 1:]
        interests = paired(interests, now)
        positives, negatives = paired(behaviours, following), paired(behaviours, tf.roll(following, -1, axis=0))
        follows, does_not = (tf.reduce_sum(interests * others, axis=1) for others in (positives, negatives))
        # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x), of any finite x.
        losses = tf.nn.softplus(-follows) + tf.nn.softplus(does_not)
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), wide))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "auxiliary_weight": self.auxiliary_weight}
