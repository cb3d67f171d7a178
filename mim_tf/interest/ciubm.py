"""CiUBM: any user behaviour model, joined by what the behaviours' contents say."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.content_interest import ContentInterest
from mim_tf.interest.fusion_interest import FusionInterest
from mim_tf.interest.interest_layer import InterestLayer


@keras.utils.register_keras_serializable(package="mim_tf")
class CiUBM(InterestLayer):
    """Content-interest-aware user behaviour modelling: ID, content and fusion interest, side by side.

    ```
    h_B = concat(h_ID_B, h_MM_B, h_Fus_B)
    ```

    Args:
        id_interest: the user behaviour model: any layer called as `layer(target, history, mask=mask)` that returns
            `[batch, any_dim]`; None leaves the ID interest out.
        content: whether to join the content interest h_MM_B.
        fusion: whether to join the fusion interest h_Fus_B.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, the target's ID embedding, `[batch, dim]`.
        history: floating point, the behaviours' ID embeddings, `[batch, length, dim]`.
        target_content: floating point, the target's content embedding, `[batch, mm_dim]`; the zero vector if the item
            has none. None only without content and fusion interest.
        history_content: floating point, the behaviours' content embeddings, `[batch, length, mm_dim]`, likewise.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Pass it: a mask that Keras
            attached to an embedding (`mask_zero=True`) is not looked for.

    Returns:
        The user's interest in the target, `[batch, id_dim + mm_dim + dim]`, in the layer's compute dtype.

    Raises:
        TypeError: if `id_interest` is not a layer, an embedding not floating point, or `mask` not boolean.
        ValueError: if all three interests are off, content embeddings are missing, or shapes do not fit each other.

    Example:
        >>> from mim_tf.interest import DIN
        >>> ciubm = CiUBM(DIN())
        >>> h_b = ciubm(tf.ones([2, 8]), tf.ones([2, 10, 8]), tf.ones([2, 64]), tf.ones([2, 10, 64]))
        >>> h_b.shape
        TensorShape([2, 80])

    Reference:
        MIM, equation 9.
    """

    def __init__(
        self, id_interest: keras.layers.Layer | None, content: bool = True, fusion: bool = True, **kwargs: Any
    ) -> None:
        if not (id_interest is None or isinstance(id_interest, keras.layers.Layer)):
            raise TypeError(f"`id_interest` must be a Keras layer or None. Received: {id_interest!r}.")
        if id_interest is None and not content and not fusion:
            raise ValueError(
                "one of `id_interest`, `content` and `fusion` must be on. "
                "Received: id_interest=None, content=False, fusion=False."
            )
        super().__init__(**kwargs)
        self.id_interest = id_interest
        self.content_interest = ContentInterest(dtype=self.dtype_policy) if content else None
        self.fusion_interest = FusionInterest(dtype=self.dtype_policy) if fusion else None

    def build(self, target_shape: Any) -> None:
        """Make nothing: the inner layer builds itself when called, with whatever signature its `build` has."""
        super().build(target_shape)

    def call(
        self,
        target: tf.Tensor,
        history: tf.Tensor,
        target_content: tf.Tensor | None = None,
        history_content: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the interests, joined."""
        contents = {"target_content": target_content, "history_content": history_content}
        missing = [name for name, value in contents.items() if value is None]
        if missing and (self.content_interest is not None or self.fusion_interest is not None):
            raise ValueError(
                "`target_content` and `history_content` must be given for content and fusion interest. "
                f"Received: None for {' and '.join(missing)}."
            )
        interests = []
        if self.id_interest is not None:
            interests.append(self.id_interest(target, history, mask=mask))
        if self.content_interest is not None:
            interests.append(self.content_interest(target_content, history_content, mask=mask))
        if self.fusion_interest is not None:
            interests.append(self.fusion_interest(target_content, history_content, history, mask=mask))
        return tf.concat([tf.cast(interest, self.compute_dtype) for interest in interests], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, the inner layer serialized."""
        return {
            **super().get_config(),
            "id_interest": None if self.id_interest is None else keras.layers.serialize(self.id_interest),
            "content": self.content_interest is not None,
            "fusion": self.fusion_interest is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CiUBM":
        """Make the layer, and its inner layer, from `get_config`."""
        inner = config["id_interest"]
        return cls(**{**config, "id_interest": None if inner is None else keras.layers.deserialize(inner)})
