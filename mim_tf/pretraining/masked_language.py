"""DDA of a bidirectional text encoder: masked language modelling on the shop's titles."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.encoders import TEXT_FAMILIES, TextEncoder
from mim_tf.pretraining.token_masking import mask_tokens
from mim_tf.pretraining.token_prediction import predict_tokens

_EPSILON = 1e-12  # BERT's


class MaskedLanguage(keras.Model):
    """Hidden tokens of a title predicted from the tokens around them.

    ```
    h = F_L(title with tokens hidden)[i]                                 at each chosen place i
    p_i = softmax(E LayerNorm(gelu(W h + c)) + b)    L = mean over the chosen places of -log p_i[token i]
    ```

    `E` is the encoder's own token embedding, which learns as input and as output. `W`, `c`, the norm and `b` start
    afresh and are dropped afterwards. The encoder's projection has no part in this and is no variable of this model.

    Args:
        text: F_L, of a family that reads in both directions.
        mask_share: of a title's tokens that are predicted, between 0 and 1; 0.15 in BERT.
        whole_words: whether a word's tokens are hidden together. Kana and Chinese characters are words of their own.

    Raises:
        ValueError: the family is causal, or the share is out of range.

    Reference: MIM, section 3.2 (DDA); Devlin et al., BERT (arXiv 1810.04805), section 3.1 and appendix A.1.
    """

    def __init__(self, text: TextEncoder, *, mask_share: float, whole_words: bool):
        family = TEXT_FAMILIES[text.family]
        if family.causal or text.tokenizer.masking is None:
            raise ValueError(
                f"`text` must read in both directions; train {text.family} with `causal_language` instead. "
                f"Received: {text.family}."
            )
        if not 0 < mask_share < 1:
            raise ValueError(f"`mask_share` must be above 0 and below 1. Received: {mask_share}.")
        super().__init__(name="masked_language")
        self.family = family
        self.tokenizer = text.tokenizer
        self.masking = text.tokenizer.masking
        self.length = text.length
        self.mask_share = mask_share
        self.whole_words = whole_words
        self.backbone = text.backbone
        vocabulary_size, hidden = family.token_embedding(text.backbone).shape
        self.transform = keras.layers.Dense(hidden, activation="gelu", name="transform", dtype="float32")
        self.transform.build((None, hidden))
        self.norm = keras.layers.LayerNormalization(epsilon=_EPSILON, name="norm", dtype="float32")
        self.norm.build((None, hidden))
        self.bias = self.add_weight(shape=(vocabulary_size,), initializer="zeros", dtype="float32", name="bias")
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """An item record to its `title`, a scalar string."""
        return {"title": record["title"]}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch of titles, tokenised and masked.

        Args:
            examples: `title` `[batch]` strings.
            seed: `[2]` int32, of the masks.

        Returns:
            `token_ids`, with tokens hidden, and `targets`, without, both `[batch, length]` int32; `chosen`
            `[batch, length]` bool, where to predict.
        """
        targets = self.tokenizer.tokenize(examples["title"], self.length)
        token_ids, chosen = mask_tokens(
            targets, seed, self.masking, share=self.mask_share, whole_words=self.whole_words
        )
        return {"token_ids": token_ids, "targets": targets, "chosen": chosen}

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """`loss` and `accuracy` of what `assemble` returns, float32 scalars."""
        inputs = {"token_ids": batch["token_ids"], "padding_mask": self.tokenizer.mask(batch["targets"])}
        sequence = self.backbone(inputs, training=training)["sequence"]
        # Only the chosen places meet the vocabulary: [chosen, vocabulary] is a seventh of [batch, length, vocabulary].
        hidden = tf.cast(tf.boolean_mask(sequence, batch["chosen"]), tf.float32)  # [chosen, hidden]
        targets = tf.boolean_mask(batch["targets"], batch["chosen"])
        embedding = self.family.token_embedding(self.backbone)
        return predict_tokens(self.norm(self.transform(hidden)), targets, embedding, self.bias)
