"""What an item's embedding is made from, in one short text."""

from __future__ import annotations

import hashlib


def content_digest(title: str, image: bytes) -> str:
    """32 hex digits that differ, but for a chance of 2^-128, whenever an item's title or image does.

    Args:
        title: as the encoder gets it.
        image: encoded.
    """
    encoded = title.encode()
    digest = hashlib.sha256(len(encoded).to_bytes(8, "big"))  # so that nothing can move from one to the other
    digest.update(encoded)
    digest.update(image)
    return digest.hexdigest()[:32]
