"""F_V: vision architectures by name."""

from mim_tf.encoders.vision.vit import VIT

# Families, as in `name: vit` with a checkpoint that knows its size.
VISION_FAMILIES = {
    "vit": VIT,
}
# Sizes, as in `name: vit_base`: with a checkpoint or from random weights. Each with its family's name.
VISION_ENCODERS = {size: name for name, family in VISION_FAMILIES.items() for size in family.sizes}

__all__ = ["VISION_ENCODERS", "VISION_FAMILIES"]
