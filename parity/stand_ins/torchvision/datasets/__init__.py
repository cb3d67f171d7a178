"""Names only."""


def __getattr__(name: str) -> type:
    """Any data set, so that classes may derive from it."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
