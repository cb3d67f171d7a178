"""BEiT-3 on texts alone: the language experts of a multiway transformer."""

from __future__ import annotations

from mim_tf.encoders.beit3 import TEXT, blocks, build_text, layout, size, token_embedding
from mim_tf.encoders.family import TextFamily
from mim_tf.encoders.tokenizers import SentencePiece

BEIT3_TEXT = TextFamily(
    build=build_text,
    sizes={
        "beit3_toy": size(2, 2, 32),
        "beit3_base": size(12, 12, 768),
        "beit3_large": size(24, 16, 1024),
    },
    blocks=blocks,
    layouts=(layout(TEXT),),
    tokenizer=SentencePiece,
    token_embedding=token_embedding,
)
