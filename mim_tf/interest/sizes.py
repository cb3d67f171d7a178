"""Sizes of layers, checked in one place."""


def check_sizes(least: int = 1, **sizes: object) -> None:
    """Check that each size is an integer of at least `least`.

    Raises:
        ValueError: one is not.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < least:
            raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {size!r}.")
