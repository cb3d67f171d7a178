"""Interest layers: ID, content and fusion interest of a behaviour history in a target item."""

from tensorflow import keras

from mim_tf.interest.augru import AUGRU
from mim_tf.interest.average_pooling import AveragePooling
from mim_tf.interest.bst import BST
from mim_tf.interest.ciubm import CiUBM
from mim_tf.interest.content_interest import ContentInterest
from mim_tf.interest.dice import Dice
from mim_tf.interest.dien import DIEN
from mim_tf.interest.din import DIN
from mim_tf.interest.fusion_interest import FusionInterest
from mim_tf.interest.sim import SIM
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding
from mim_tf.interest.twin import TWIN
from mim_tf.interest.user_state import UserState

__all__ = [
    "AUGRU",
    "BST",
    "DIEN",
    "DIN",
    "SIM",
    "TWIN",
    "UBMS",
    "AveragePooling",
    "CiUBM",
    "ContentInterest",
    "Dice",
    "FusionInterest",
    "TimeGapEmbedding",
    "UserState",
]

# User behaviour models by the name settings use; each is `layer(target, history, mask=mask)`, of one target per user or
# many candidates. The `call` of one that asks for more names it: `time_gaps` (seconds before the request), `[batch,
# length]`, `same_category` (as the target's), `[batch, length]` or `[batch, candidates, length]`, and `shown` (False at
# padding among candidates), `[batch, candidates]`. One that learns statistics from its batch needs the last.
UBMS: dict[str, type[keras.layers.Layer]] = {
    "average": AveragePooling,
    "bst": BST,
    "dien": DIEN,
    "din": DIN,
    "sim": SIM,
    "twin": TWIN,
}
