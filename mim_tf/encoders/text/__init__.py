"""F_L: language architectures by name."""

from mim_tf.encoders.text.bert import BERT, BGE

# Families, as in `name: bert` with a checkpoint that knows its size.
TEXT_FAMILIES = {
    "bert": BERT,
    "bge": BGE,
}
# Sizes, as in `name: bge_base`: with a checkpoint or from random weights. Each with its family's name.
TEXT_ENCODERS = {size: name for name, family in TEXT_FAMILIES.items() for size in family.sizes}

__all__ = ["TEXT_ENCODERS", "TEXT_FAMILIES"]
