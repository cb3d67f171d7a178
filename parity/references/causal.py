"""What GPT-2, Llama and Qwen3 have in common: byte pairs for the title, its last token's vector for the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from parity.references.case import TITLES, save_case

LENGTH = 32
ODD_TITLES = (
    *TITLES,
    "cafe\u0301 A\u030angstro\u0308m \ufb01ne \u00bd \u2167",
    "one\n\n  two \r\n\r\n three\t \u00a0four\u3000\u3000five  ",
    "12 345 6789 \u0661\u0662\u0663\u0664 \uff11\uff12 x2y3",
    "'S 'Re it\u2019s I'd've HE'LL'M \u017f'\u017f",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea!!! ...\n?!\r\n",
    "新款连衣裙女夏季2024收腰显瘦气质 包邮 100%棉",
    "<|endoftext|>",
)
# As the published files of Llama 3 and Qwen3 have it; how many digits make a word is where they differ.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def learn(pre_tokenizer: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """Byte pairs learnt from the titles, some four hundred of them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(ODD_TITLES, trainer)
    return tokenizer


def cl100k_words(digits: str) -> dict[str, Any]:
    """The `pre_tokenizer` of `tokenizer.json` in Llama 3 and Qwen3."""
    split = {"type": "Split", "pattern": {"Regex": CL100K.replace("DIGITS", digits)}}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [{**split, "behavior": "Isolated", "invert": False}, to_bytes]}


def of_json(content: Mapping[str, Any]) -> Tokenizer:
    """A tokeniser of what `tokenizer.json` holds."""
    return Tokenizer.from_str(json.dumps(content))


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key away."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def save_causal(
    folder: Path, encoder: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: str, appended: bool
) -> None:
    """Write a case but for its checkpoint.

    Args:
        folder: the case's.
        encoder: our name of the family.
        model: without its language head.
        tokenizer: transformers' own.
        end: the token after a title.
        appended: whether the tokeniser adds it; otherwise it is added here.
    """
    last = tokenizer.convert_tokens_to_ids(end)
    token_ids = np.full([len(ODD_TITLES), LENGTH], last, np.int32)
    mask = np.zeros_like(token_ids, bool)
    for row, title in enumerate(ODD_TITLES):
        # A special token's name in a title is text for us.
        kept = tokenizer(title, truncation=True, max_length=LENGTH - (not appended), split_special_tokens=True)
        ids = [*kept["input_ids"], *([] if appended else [last])]
        token_ids[row, : len(ids)], mask[row, : len(ids)] = ids, True
    with torch.no_grad():
        outputs = model(input_ids=torch.tensor(token_ids).long(), attention_mask=torch.tensor(mask).long())
    sequence = outputs.last_hidden_state.numpy()
    save_case(
        folder,
        encoder=encoder,
        modality="text",
        arrays={
            "token_ids": token_ids,
            "mask": mask,
            "sequence": sequence,
            "pooled": sequence[np.arange(len(sequence)), mask.sum(axis=1) - 1],
        },
        titles=ODD_TITLES,
        length=LENGTH,
    )
