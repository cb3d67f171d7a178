"""F_V: vision architectures by name."""

from mim_tf.encoders.vision.beit3 import BEIT3_VISION
from mim_tf.encoders.vision.convnext import CONVNEXT, CONVNEXTV2
from mim_tf.encoders.vision.dinov2 import DINOV2
from mim_tf.encoders.vision.dinov3 import DINOV3
from mim_tf.encoders.vision.eva02 import EVA02
from mim_tf.encoders.vision.resnet import RESNET
from mim_tf.encoders.vision.siglip import SIGLIP
from mim_tf.encoders.vision.swin import SWIN
from mim_tf.encoders.vision.vit import VIT

# Families, as in `name: vit` with a checkpoint that knows its size.
VISION_FAMILIES = {
    "beit3": BEIT3_VISION,
    "convnext": CONVNEXT,
    "convnextv2": CONVNEXTV2,
    "dinov2": DINOV2,
    "dinov3": DINOV3,
    "eva02": EVA02,
    "resnet": RESNET,
    "siglip": SIGLIP,
    "swin": SWIN,
    "vit": VIT,
}
# Sizes, as in `name: vit_base`: with a checkpoint or from random weights. Each with its family's name.
VISION_ENCODERS = {size: name for name, family in VISION_FAMILIES.items() for size in family.sizes}

__all__ = ["VISION_ENCODERS", "VISION_FAMILIES"]
