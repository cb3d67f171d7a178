"""F_V and F_L: encoders by name, from image bytes and titles to embeddings. Keras 3 only, as keras-nlp is."""

from mim_tf.encoders.text import TEXT_ENCODERS, TextEncoder, learn_vocabulary, text_encoder
from mim_tf.encoders.vision import VISION_ENCODERS, VisionEncoder

__all__ = [
    "TEXT_ENCODERS",
    "VISION_ENCODERS",
    "TextEncoder",
    "VisionEncoder",
    "learn_vocabulary",
    "text_encoder",
]
