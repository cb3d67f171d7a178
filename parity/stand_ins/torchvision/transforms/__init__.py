"""Names only."""

from torchvision.transforms.functional import InterpolationMode

__all__ = ["InterpolationMode"]


def __getattr__(name: str) -> type:
    """Any transform, so that classes may derive from it."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
