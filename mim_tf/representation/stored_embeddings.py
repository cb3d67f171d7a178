"""What is read from a store."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mim_tf.representation.slots import WHOLE, Shard, check_shard, rows_in_shard


class StoredEmbeddings(NamedTuple):
    """Embeddings of a store in memory, in the order of rows."""

    item_ids: np.ndarray  # [items] int64, or object holding str
    rows: np.ndarray  # [items] int64: the item's row in every table made from the store; there may be gaps
    embeddings: np.ndarray  # [items, dim] float16
    encoder: str  # fingerprint of the encoder that made them
    version: int  # of the store
    store: str  # its identity
    slots: int  # of the store
    part: Shard = WHOLE  # of the store's items that these are

    def shard(self, number: int, total: int) -> StoredEmbeddings:
        """The items of one of `total` parts of the store, with their rows there.

        Raises:
            ValueError: the store cannot be cut into so many, or there is no such one.
        """
        shard = Shard(number, total)
        check_shard(shard, self.slots)
        mine = self.rows % self.slots % total == number
        rows = rows_in_shard(self.rows[mine], self.slots, shard)
        return self._replace(item_ids=self.item_ids[mine], rows=rows, embeddings=self.embeddings[mine], part=shard)


class Labels(NamedTuple):
    """What the store knows of embeddings beside them."""

    contents: np.ndarray  # [items] str, digests of what they were made from; None where that is not known
    event_times: np.ndarray  # [items] datetime64[us] UTC, when the shop last said what the item is; NaT if unknown
