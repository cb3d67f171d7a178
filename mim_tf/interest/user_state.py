"""What content and fusion interest need of a user, in a size that does not grow with the history."""

from typing import NamedTuple

import tensorflow as tf

from mim_tf.interest.behaviours import bool_mask, check_match, float_targets, float_tensor
from mim_tf.interest.content_attention import (
    real_behaviours,
    through_matrix,
    unit_vectors,
    user_matrix,
)
from mim_tf.interest.fusion_interest import check_same_positions
from mim_tf.interest.precision import at_least_float32

# Behaviours summed up at once: what is widened and normalised of a long history is never more than these.
_BLOCK = 1024


class UserState(NamedTuple):
    """Users' histories, summed up into two matrices each: for content interest and for fusion interest.

    ```
    content = sum_i h_MM_i h^_i^T        h_MM_B  = content t^        h^ = h_MM / |h_MM|, t^ likewise
    fusion  = sum_i h_ID_i h^_i^T        h_Fus_B = fusion t^
    ```

    Equal to `ContentInterest` and `FusionInterest` over the whole history, at a cost per candidate of
    `mm_dim * (mm_dim + dim)` multiplications, however long the history was. `add` gives the state after further
    behaviours; the one before stays as it is. An item without a content embedding (the zero vector) changes nothing.

    A state is a tuple of two tensors: it passes through `tf.function`, SavedModels and Keras layers, batches by
    `tf.concat` of its parts, and is stored as they are. It fits one table of content embeddings and one state of the ID
    embeddings only: after either was trained on, build it anew.

    Attributes:
        content: `[batch, mm_dim, mm_dim]`. With `fusion`, 8 bytes a number: 64 KiB a user at `mm_dim = dim = 64`.
        fusion: `[batch, dim, mm_dim]`.

    Example:
        >>> state = UserState.empty(batch_size=1, dim=1, mm_dim=2)
        >>> state = state.add(tf.constant([[4.0, 3.0]]), tf.constant([[10.0]]))
        >>> candidates = tf.constant([[[1.0, 0.0], [0.0, 1.0]]])  # cosines 0.8 and 0.6
        >>> state.fusion_interest(candidates).numpy().round(4).tolist()
        [[[8.0], [6.0]]]

        Beside an ID interest over, say, the newest behaviours, CiUBM makes h_B of a user's candidates of it:

            ciubm(targets, newest, candidates, mask=mask, user_state=state)

    Reference:
        MIM, equations 7 and 8, which are linear in t^. The paper does not use it.
    """

    content: tf.Tensor
    fusion: tf.Tensor

    @classmethod
    def empty(
        cls, batch_size: int | tf.Tensor, dim: int, mm_dim: int, dtype: str | tf.DType = tf.float64
    ) -> "UserState":
        """Return the state of users without a behaviour.

        Args:
            batch_size: number of users.
            dim: dimension of ID embeddings.
            mm_dim: dimension of content embeddings.
            dtype: of the matrices. In float64 ten thousand single additions leave no trace; float32 takes half the
                room, and is off by 1e-4 of the result after ten thousand times the same behaviour.

        Raises:
            ValueError: if `dtype` is not float32 or float64.
        """
        dtype = tf.as_dtype(dtype)
        if dtype not in (tf.float32, tf.float64):
            raise ValueError(f"`dtype` must be float32 or float64. Received: {dtype.name}.")
        return cls(tf.zeros([batch_size, mm_dim, mm_dim], dtype), tf.zeros([batch_size, dim, mm_dim], dtype))

    @classmethod
    def from_history(
        cls, history_embedding: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None
    ) -> "UserState":
        """Return the state of users with these behaviours; arguments as for `add`."""
        history_embedding, history = tf.convert_to_tensor(history_embedding), tf.convert_to_tensor(history)
        empty = cls.empty(tf.shape(history)[0], history.shape[-1], history_embedding.shape[-1])
        return empty.add(history_embedding, history, mask)

    def add(self, history_embedding: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None) -> "UserState":
        """Return the state after one further behaviour of each user, or after several.

        Args:
            history_embedding: floating point, the behaviours' content embeddings, `[batch, mm_dim]` or
                `[batch, length, mm_dim]`.
            history: floating point, their ID embeddings, `[batch, dim]` or `[batch, length, dim]`.
            mask: bool, `[batch]` or `[batch, length]`, True at real behaviours; None if all are. Padding may hold
                anything, even NaN.

        Raises:
            TypeError: if an embedding is not floating point, or `mask` not boolean.
            ValueError: if the shapes do not fit each other, or the state.
        """
        history_embedding, history = tf.convert_to_tensor(history_embedding), tf.convert_to_tensor(history)
        if history.shape.rank == 2 and history_embedding.shape.rank == 2:  # one behaviour each
            history_embedding, history = history_embedding[:, tf.newaxis, :], history[:, tf.newaxis, :]
            mask = None if mask is None else tf.convert_to_tensor(mask)[..., tf.newaxis]
        self._check(history_embedding, history)
        mask = bool_mask(mask, history)

        def add_block(start: tf.Tensor, state: UserState) -> tuple[tf.Tensor, UserState]:
            end = start + _BLOCK
            block = None if mask is None else mask[:, start:end]
            return end, state._add_block(history_embedding[:, start:end], history[:, start:end], block)

        # One block after the other: several at once would take the room of as many.
        length = tf.shape(history)[1]
        _, state = tf.while_loop(
            lambda start, _: start < length, add_block, (tf.constant(0), self), parallel_iterations=1
        )
        return state

    def _check(self, contents: tf.Tensor, ids: tf.Tensor) -> None:
        """Raise unless both are floating point, of the same behaviours, and of the state's batch and dimensions."""
        contents = float_tensor(contents, "history_embedding", 3, contents.dtype)
        ids = float_tensor(ids, "history", 3, ids.dtype)
        check_same_positions(ids, contents, "history_embedding")
        check_match(contents, self.content, ("history_embedding", "content"))
        if not (ids.shape[:1] + ids.shape[2:]).is_compatible_with(self.fusion.shape[:2]):
            raise ValueError(
                "`history` must have the batch size and dimension of the state's ID embeddings, "
                f"{self.fusion.shape[:2]}. Received: shape {ids.shape}."
            )

    def _add_block(self, contents: tf.Tensor, ids: tf.Tensor, mask: tf.Tensor | None) -> "UserState":
        """Return the state after these behaviours, `[batch, length, any_dim]`, all summed up at once."""
        contents = real_behaviours(contents, "history_embedding", mask, self.content.dtype)
        ids = real_behaviours(ids, "history", mask, self.fusion.dtype)
        directions = unit_vectors(contents)
        content = self.content + user_matrix(contents, directions)
        fusion = self.fusion + user_matrix(ids, directions)
        # What a loop carries keeps its shape, also where the behaviours' batch size is not known.
        return UserState(tf.ensure_shape(content, self.content.shape), tf.ensure_shape(fusion, self.fusion.shape))

    def content_interest(self, target_embedding: tf.Tensor) -> tf.Tensor:
        """Return h_MM_B of each target: `[batch, mm_dim]`, or `[batch, candidates, mm_dim]` if they are many.

        Args:
            target_embedding: floating point, `[batch, mm_dim]` or `[batch, candidates, mm_dim]`. The result has its
                dtype, widened to float32 from half precision.

        Raises:
            TypeError: if `target_embedding` is not floating point.
            ValueError: if its shape does not fit the state.
        """
        return _interest(self.content, target_embedding)

    def fusion_interest(self, target_embedding: tf.Tensor) -> tf.Tensor:
        """Return h_Fus_B of each target: `[batch, dim]`, or `[batch, candidates, dim]`; else as `content_interest`."""
        return _interest(self.fusion, target_embedding)


def _interest(matrix: tf.Tensor, target_embedding: tf.Tensor) -> tf.Tensor:
    """Return the matrix times each target's direction, `[batch, dim]` or `[batch, candidates, dim]`."""
    target_embedding = tf.convert_to_tensor(target_embedding)
    wide = at_least_float32(target_embedding.dtype.name)
    targets = float_targets(target_embedding, "target_embedding", wide)
    check_match(targets, matrix, ("target_embedding", "the state"))
    if targets.shape.rank == 2:
        return tf.squeeze(through_matrix(targets[:, tf.newaxis, :], tf.cast(matrix, wide)), 1)
    return through_matrix(targets, tf.cast(matrix, wide))
