"""A projection that keeps what a pre-trained backbone tells apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from mim_tf.encoders.adaptation import Encoder


def project_on_principal_components(encoder: Encoder, batches: Iterable[tf.Tensor]) -> None:
    """Set an encoder's projection to the principal components of its backbone's embeddings.

    ```
    h = V (pooled - mean)        V: the `dim` directions in which the embeddings differ most
    ```

    A random projection to fewer dimensions blurs the cosines that a foundation model has learnt; this one keeps as much
    of them as any linear one can.

    Args:
        encoder: with a projection to at most as many dimensions as the backbone has.
        batches: what the encoder takes, of more examples than it has dimensions.

    Raises:
        ValueError: too many dimensions for the backbone or for the examples.

    Reference: Hotelling, Analysis of a complex of statistical variables into principal components, 1933.
    """
    pool = tf.function(encoder.pool)
    pooled = np.concatenate([pool(batch).numpy() for batch in batches])  # [examples, hidden]
    most = min(pooled.shape[1], len(pooled) - 1)
    if encoder.projection is None or encoder.dim > most:
        raise ValueError(
            f"`dim` must be at most {most}, for {len(pooled)} examples of {pooled.shape[1]} dimensions. "
            f"Received: {encoder.dim}."
        )
    mean = pooled.mean(axis=0)
    directions = np.linalg.svd(pooled - mean, full_matrices=False)[2][: encoder.dim]
    encoder.projection.set_weights([directions.T, -directions @ mean])
