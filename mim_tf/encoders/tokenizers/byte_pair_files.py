"""The files of byte-level byte pairs: `tokenizer.json`, or `vocab.json` and `merges.txt`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mim_tf.encoders.tokenizers.byte_pair_merges import byte_characters
from mim_tf.encoders.tokenizers.word_pattern import GPT2_WORDS, WORD_PATTERNS, WordPattern

_WHOLE, _VOCABULARY, _MERGES, _OPTIONS = "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"
# What a model of `tokenizer.json` may have and GPT-2, Llama 3 and Qwen do not.
_OFF = ("byte_fallback", "continuing_subword_prefix", "dropout", "end_of_word_suffix")


@dataclass(frozen=True)
class WordRules:
    """How titles become the words inside which byte pairs are merged.

    Attributes:
        pattern: what cuts a title into words.
        composed: bring the title into Unicode's form NFC first.
        whole_words: take a word that is in the vocabulary as it is, even where merging would not lead there.
    """

    pattern: WordPattern
    composed: bool = False
    whole_words: bool = False


class BytePairs(NamedTuple):
    """What the files say.

    Attributes:
        vocabulary: token ids of pieces, which are written in `byte_characters`.
        merges: pairs of pieces, the first learnt first.
        special_tokens: token ids of what is no piece of a title.
        rules: how titles become words.
    """

    vocabulary: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    special_tokens: Mapping[str, int]
    rules: WordRules


def read_byte_pairs(files: Mapping[str, bytes], rules: WordRules) -> BytePairs:
    """Read a tokeniser.

    Args:
        files: the tokeniser's, name to content; `tokenizer.json` counts before the older two.
        rules: those of the architecture, for `vocab.json` and `merges.txt`, which tell none.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: no JSON, or another kind of tokeniser.
    """
    options = _json(files, _OPTIONS) if _OPTIONS in files else {}
    if options.get("add_prefix_space"):
        raise ValueError(f"`add_prefix_space` in {_OPTIONS} must be false. Received: true.")
    if _WHOLE in files:
        try:
            return _of_whole(_json(files, _WHOLE))
        except KeyError as error:
            raise ValueError(f"{_WHOLE} must have {error}.") from error
    if not files.keys() >= {_VOCABULARY, _MERGES}:
        raise FileNotFoundError(f"a byte-pair tokeniser needs {_WHOLE}, or {_VOCABULARY} and {_MERGES}.")
    lines = files[_MERGES].decode().splitlines()
    return BytePairs(
        vocabulary=_json(files, _VOCABULARY),
        merges=_pairs(line for line in lines if line and not line.startswith("#version")),
        special_tokens={token["content"]: int(key) for key, token in options.get("added_tokens_decoder", {}).items()},
        rules=rules,
    )


def byte_pair_files(vocabulary: Mapping[str, int], merges: Iterable[str]) -> dict[str, bytes]:
    """A vocabulary and merges such as "a b", the first learnt first, as the files of a `BytePair`."""
    lines = [merge for merge in merges if not merge.startswith("#version")]
    content = "\n".join(["#version: 0.2", *lines, ""])
    return {_VOCABULARY: json.dumps(dict(vocabulary), ensure_ascii=False).encode(), _MERGES: content.encode()}


def byte_files(*special_tokens: str) -> dict[str, bytes]:
    """The files of a `BytePair` that merges nothing: every byte is a token."""
    pieces = [*byte_characters(), *special_tokens]
    return byte_pair_files({piece: token for token, piece in enumerate(pieces)}, [])


def files_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of a folder's files those that a byte-pair tokeniser is made from."""
    return {name: files[name] for name in (_WHOLE, _VOCABULARY, _MERGES, _OPTIONS) if name in files}


def _of_whole(content: Mapping[str, Any]) -> BytePairs:
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"`model` in {_WHOLE} must be BPE. Received: {model['type']}.")
    for key in _OFF:
        if model.get(key):
            raise ValueError(f"`{key}` in {_WHOLE} must be off. Received: {model[key]!r}.")
    normalizer = (content.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):
        raise ValueError(f"`normalizer` in {_WHOLE} must be null or NFC. Received: {normalizer}.")
    return BytePairs(
        vocabulary=model["vocab"],
        merges=_pairs(model["merges"]),
        special_tokens={token["content"]: token["id"] for token in content.get("added_tokens", [])},
        rules=WordRules(
            pattern=_pattern(content["pre_tokenizer"]),
            composed=normalizer == "NFC",
            whole_words=model.get("ignore_merges", False),
        ),
    )


def _pattern(pre_tokenizer: Mapping[str, Any]) -> WordPattern:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    published = "".join(_cut(step) for step in steps)
    if steps[-1]["type"] != "ByteLevel" or published not in WORD_PATTERNS:
        raise ValueError(
            f"`pre_tokenizer` in {_WHOLE} must cut titles as GPT-2, Llama 3 or Qwen3 do. "
            f"Received: {json.dumps(pre_tokenizer, ensure_ascii=False)[:300]}."
        )
    return WORD_PATTERNS[published]


def _cut(step: Mapping[str, Any]) -> str:
    """The pattern of one step: none where it only writes bytes as characters, no known one where it does more."""
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return GPT2_WORDS.published if step.get("use_regex", True) else ""
    if step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return str(step["pattern"].get("Regex"))
    return "unknown"


def _pairs(merges: Iterable[str | Sequence[str]]) -> list[tuple[str, str]]:
    """Older files have a merge's two pieces in one string."""
    pairs = []
    for merge in merges:
        pieces = merge.split(" ") if isinstance(merge, str) else merge
        if len(pieces) != 2:
            raise ValueError(f"a merge must be of two pieces. Received: {merge!r}.")
        pairs.append((pieces[0], pieces[1]))
    return pairs


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(files[name])
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error
    return content
