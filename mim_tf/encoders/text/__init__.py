"""F_L: language architectures by name."""

from mim_tf.encoders.text.beit3 import BEIT3_TEXT
from mim_tf.encoders.text.bert import BERT, BGE
from mim_tf.encoders.text.gpt2 import GPT2
from mim_tf.encoders.text.llama import LLAMA
from mim_tf.encoders.text.qwen3 import QWEN3
from mim_tf.encoders.text.xlm_roberta import XLM_ROBERTA

# Families, as in `name: bert` with a checkpoint that knows its size.
TEXT_FAMILIES = {
    "beit3": BEIT3_TEXT,
    "bert": BERT,
    "bge": BGE,
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen3": QWEN3,
    "xlm_roberta": XLM_ROBERTA,
}
# Sizes, as in `name: bge_base`: with a checkpoint or from random weights. Each with its family's name.
TEXT_ENCODERS = {size: name for name, family in TEXT_FAMILIES.items() for size in family.sizes}

__all__ = ["TEXT_ENCODERS", "TEXT_FAMILIES"]
