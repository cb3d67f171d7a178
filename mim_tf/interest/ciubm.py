"""CiUBM: any user behaviour model, joined by what the behaviours' contents say."""

import inspect
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import check_match, float_targets, float_tensor
from mim_tf.interest.candidates import fold, repeat, unfold
from mim_tf.interest.content_attention import content_weighted_sums, real_behaviours
from mim_tf.interest.cross_features import category_flags
from mim_tf.interest.fusion_interest import check_same_positions
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.user_state import UserState

# What CiUBM knows of behaviours and candidates beyond their embeddings, for a user behaviour model that asks for it.
_DETAILS = frozenset({"time_gaps", "same_category", "shown"})


def call_arguments(ubm: keras.layers.Layer) -> frozenset[str]:
    """Return which of `time_gaps`, `same_category` and `shown` the `call` of a user behaviour model takes.

    One with `**kwargs` takes all: it may wrap a model that names them.
    """
    parameters = inspect.signature(ubm.call).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return _DETAILS if takes_any else _DETAILS & parameters.keys()


@keras.utils.register_keras_serializable(package="mim_tf")
class CiUBM(InterestLayer):
    """Content-interest-aware user behaviour modelling: ID, content and fusion interest, side by side.

    ```
    h_B = concat(h_ID_B, h_MM_B, h_Fus_B)
    ```

    A history without a real behaviour gives zeros, if the user behaviour model does. Many candidates of one user share
    the history. What is long or comes in bit by bit fits into a `UserState`, which then takes its place in (7) and (8).

    Args:
        id_interest: the user behaviour model: any layer called as `layer(target, history, mask=mask)` that returns
            `[batch, any_dim]`; None leaves the ID interest out. If its `call` names `time_gaps`, `same_category` or
            `shown` (or has `**kwargs`), it is handed what CiUBM is given of these. An `InterestLayer` is handed
            candidates as they are; any other layer sees each as a user of its own, with the history repeated.
        content: whether to join the content interest h_MM_B.
        fusion: whether to join the fusion interest h_Fus_B.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, the target's ID embedding, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, the behaviours' ID embeddings, `[batch, length, dim]`.
        target_content: floating point, the target's content embedding, `[batch, mm_dim]`, or `[batch, candidates,
            mm_dim]`; the zero vector if the item has none. None only without content and fusion interest.
        history_content: floating point, the behaviours' content embeddings, `[batch, length, mm_dim]`, likewise. None
            also with `user_state`, beside which it is not read.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Pass it: a mask that Keras
            attached to an embedding (`mask_zero=True`) is not looked for. Padding may hold anything, even NaN.
        time_gaps: integer or floating point, seconds between each behaviour and the request, `[batch, length]`.
        same_category: bool, whether a behaviour's item is of the target's category, `[batch, length]`, or `[batch,
            candidates, length]`.
        user_state: what content and fusion interest come from in place of `history_content` and `history`, which then
            is the ID interest's alone: its newest behaviours, say, where the state sums up all.
        shown: bool, `[batch, candidates]`, False at padding among candidates, whose interest may be anything finite;
            None if there is none.

    Returns:
        The user's interest in the target, `[batch, id_dim + mm_dim + dim]`, or `[batch, candidates, id_dim + mm_dim +
        dim]`, in the layer's compute dtype.

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
        self.content, self.fusion = content, fusion
        self._handed = frozenset[str]() if id_interest is None else call_arguments(id_interest)

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
        time_gaps: tf.Tensor | None = None,
        same_category: tf.Tensor | None = None,
        user_state: UserState | None = None,
        shown: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the interests, joined."""
        target, history = tf.convert_to_tensor(target), tf.convert_to_tensor(history)
        # Checked here too, for user behaviour models that do not; theirs is the cast.
        check_match(float_targets(target, "target", target.dtype), float_tensor(history, "history", 3, history.dtype))
        interests = []
        if self.id_interest is not None:
            details = {"time_gaps": time_gaps, "same_category": same_category, "shown": shown}
            handed = {name: value for name, value in details.items() if value is not None and name in self._handed}
            interests.append(_id_interest(self.id_interest, target, history, mask, handed))
        if self.content or self.fusion:
            target_content = self._checked_content(target, target_content, history_content, user_state)
            if user_state is None:
                interests += self._interests_in_contents(history, target_content, history_content, mask)
            else:
                interests += self._interests_of_state(UserState(*user_state), target_content)
        return tf.concat([tf.cast(interest, self.compute_dtype) for interest in interests], axis=-1)

    def _checked_content(
        self,
        target: tf.Tensor,
        target_content: tf.Tensor | None,
        history_content: tf.Tensor | None,
        user_state: UserState | None,
    ) -> tf.Tensor:
        """Return the targets' content embeddings in at least float32."""
        behaviours = history_content if user_state is None else user_state
        given = {"target_content": target_content, "history_content": behaviours}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise ValueError(
                "`target_content` and either `history_content` or `user_state` must be given for content and fusion "
                f"interest. Received: None for {' and '.join(missing)}."
            )
        target_content = float_targets(target_content, "target_content", at_least_float32(self.compute_dtype))
        if not target_content.shape[:-1].is_compatible_with(target.shape[:-1]):
            raise ValueError(
                "`target` and `target_content` must have the same batch size, and candidates if any. "
                f"Received: shapes {target.shape} and {target_content.shape}."
            )
        return target_content

    def _interests_of_state(self, state: UserState, target_content: tf.Tensor) -> list[tf.Tensor]:
        """Return content and fusion interest, as far as they are on, of a state."""
        interests = [state.content_interest(target_content)] if self.content else []
        return [*interests, state.fusion_interest(target_content)] if self.fusion else interests

    def _interests_in_contents(
        self, history: tf.Tensor, target_content: tf.Tensor, history_content: tf.Tensor, mask: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Return content and fusion interest, as far as they are on; they share one attention."""
        contents = real_behaviours(history_content, "history_content", mask, target_content.dtype)
        check_match(target_content, contents, ("target_content", "history_content"))
        values = [contents] if self.content else []
        if self.fusion:
            values.append(real_behaviours(history, "history", mask, target_content.dtype))
        check_same_positions(history, contents, "history_content")
        return content_weighted_sums(target_content, contents, values)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, the inner layer serialized."""
        return {
            **super().get_config(),
            "id_interest": None if self.id_interest is None else keras.layers.serialize(self.id_interest),
            "content": self.content,
            "fusion": self.fusion,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CiUBM":
        """Make the layer, and its inner layer, from `get_config`."""
        inner = config["id_interest"]
        return cls(**{**config, "id_interest": None if inner is None else keras.layers.deserialize(inner)})


def _id_interest(
    ubm: keras.layers.Layer,
    target: tf.Tensor,
    history: tf.Tensor,
    mask: tf.Tensor | None,
    details: dict[str, tf.Tensor],
) -> tf.Tensor:
    """Return what a user behaviour model makes of the target, or of each candidate."""
    if target.shape.rank == 2 or isinstance(ubm, InterestLayer):
        return ubm(target, history, mask=mask, **details)
    # One that knows nothing of candidates: each becomes a user of its own.
    folded = {}
    if "time_gaps" in details:
        folded["time_gaps"] = repeat(details["time_gaps"], target)
    if "same_category" in details:
        folded["same_category"] = fold(category_flags(details["same_category"], target, history))
    if "shown" in details:
        folded["shown"] = fold(details["shown"])
    mask = None if mask is None else repeat(mask, target)
    return unfold(ubm(fold(target), repeat(history, target), mask=mask, **folded), target)
