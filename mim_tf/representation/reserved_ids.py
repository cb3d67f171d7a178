"""Ids that no item may have."""

import numpy as np

# Keys the index needs for itself; `item_keys` never makes them of strings.
EMPTY_KEY, DELETED_KEY = np.iinfo(np.int64).min, np.iinfo(np.int64).min + 1
RESERVED_IDS = (EMPTY_KEY, DELETED_KEY, -1)  # -1 pads histories; of strings, "" does
