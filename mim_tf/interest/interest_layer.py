"""How the interest layers stand towards Keras: masks and casts are theirs, in either Keras."""

from typing import Any

from tensorflow import keras


class InterestLayer(keras.layers.Layer):
    """Base of the layers that sum a history up into one vector per target.

    Either there is one target per user, `[batch, dim]`, or there are candidates, `[batch, candidates, dim]`, which
    share the user's history. The result is `[batch, any_dim]` or `[batch, candidates, any_dim]`; a candidate's does not
    depend on the others.

    The mask is an argument like any other: pass it, for a mask that Keras attached to an embedding (`mask_zero=True`)
    is not looked for. (Where `mask` is left out, tf_keras hands over one it finds on the first argument: the target's,
    whose shape is then refused.) A layer casts its own arguments: Keras 3 would cast all of them to the compute dtype,
    content embeddings before their cosine included, and tf_keras only the first.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def compute_mask(self, *inputs: Any, **masks: Any) -> None:
        """Return None: the result has no time axis left, so no mask either."""
        return
