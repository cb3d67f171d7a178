"""Stage 3: click-probability models around the interest layers. `tfrs_model` is apart, as it needs tf_keras."""

from mim_tf.ranking.bucketised_embedding import BucketisedEmbedding
from mim_tf.ranking.deep_ctr import DeepCTR
from mim_tf.ranking.hashed_embedding import HashedEmbedding
from mim_tf.ranking.network import RankingNetwork, behaviour_mask
from mim_tf.ranking.ranker import Ranker
from mim_tf.ranking.standardised import Standardised
from mim_tf.ranking.vocabulary_embedding import VocabularyEmbedding

__all__ = [
    "BucketisedEmbedding",
    "DeepCTR",
    "HashedEmbedding",
    "Ranker",
    "RankingNetwork",
    "Standardised",
    "VocabularyEmbedding",
    "behaviour_mask",
]
