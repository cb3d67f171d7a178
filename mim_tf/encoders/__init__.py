"""F_V and F_L: encoders by name, from image bytes and titles to embeddings. Keras 3 only, as keras-nlp is."""

from mim_tf.encoders.adaptation import Encoder, add_lora, blocks, layer_rates, recompute_activations, train_last_blocks
from mim_tf.encoders.pair_encoder import PairEncoder, pair_encoder
from mim_tf.encoders.principal_projection import project_on_principal_components
from mim_tf.encoders.text import TEXT_ENCODERS, TEXT_FAMILIES
from mim_tf.encoders.text_encoder import TextEncoder, text_encoder
from mim_tf.encoders.tokenizers import learn_vocabulary, vocabulary_files
from mim_tf.encoders.vision import VISION_ENCODERS, VISION_FAMILIES
from mim_tf.encoders.vision_encoder import VisionEncoder, vision_encoder

__all__ = [
    "TEXT_ENCODERS",
    "TEXT_FAMILIES",
    "VISION_ENCODERS",
    "VISION_FAMILIES",
    "Encoder",
    "PairEncoder",
    "TextEncoder",
    "VisionEncoder",
    "add_lora",
    "blocks",
    "layer_rates",
    "learn_vocabulary",
    "pair_encoder",
    "project_on_principal_components",
    "recompute_activations",
    "text_encoder",
    "train_last_blocks",
    "vision_encoder",
    "vocabulary_files",
]
