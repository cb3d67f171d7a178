"""Interest layers: ID, content and fusion interest of a behaviour history in a target item."""

from tensorflow import keras

from mim_tf.interest.average_pooling import AveragePooling
from mim_tf.interest.ciubm import CiUBM
from mim_tf.interest.content_interest import ContentInterest
from mim_tf.interest.dice import Dice
from mim_tf.interest.din import DIN
from mim_tf.interest.fusion_interest import FusionInterest

__all__ = ["DIN", "UBMS", "AveragePooling", "CiUBM", "ContentInterest", "Dice", "FusionInterest"]

# User behaviour models by the name settings use; each is `layer(target, history, mask=mask)`.
UBMS: dict[str, type[keras.layers.Layer]] = {"average": AveragePooling, "din": DIN}
