"""Stage 3: click-probability models around the interest layers. `tfrs_model` is apart, as it needs tf_keras."""

from mim_tf.ranking.hashed_embedding import HashedEmbedding
from mim_tf.ranking.network import RankingNetwork, behaviour_mask
from mim_tf.ranking.ranker import Ranker

__all__ = ["HashedEmbedding", "Ranker", "RankingNetwork", "behaviour_mask"]
