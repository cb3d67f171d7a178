"""The encoders by name, without TensorFlow: settings are read before it may be imported. A test holds them true."""

from typing import Literal

VisionName = Literal[
    "vit",
    "vit_toy",
    "vit_mini",
    "vit_mini_patch8",
    "vit_midi_patch8",
    "vit_tiny",
    "vit_small",
    "vit_base",
    "vit_large",
]
TextName = Literal[
    "bert",
    "bert_toy",
    "bert_tiny",
    "bert_mini",
    "bert_small",
    "bert_medium",
    "bert_base",
    "bert_large",
    "bge",
    "bge_toy",
    "bge_small",
    "bge_base",
    "bge_large",
    "bge_small_zh",
    "bge_base_zh",
    "bge_large_zh",
]
