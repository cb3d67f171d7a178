"""DDA of a causal text encoder: next-token prediction on the shop's titles."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.encoders import TEXT_FAMILIES, TextEncoder
from mim_tf.pretraining.token_prediction import predict_tokens


class CausalLanguage(keras.Model):
    """Each token of a title predicted from those before it, `L = mean of -log softmax(E F_L(title)[i])[token i + 1]`.

    The end token is predicted as well, padding is not. `E` is the encoder's own token embedding, as in GPT-2 and the
    smaller sizes of Llama 3 and Qwen3; nothing is added to the encoder. Larger sizes were trained with an output matrix
    of its own, which the encoder has not: they first have to learn to do without. The encoder's projection has no part
    in this and is no variable of this model.

    Args:
        text: F_L, of a causal family.

    Raises:
        ValueError: the family is not causal.

    Reference: MIM, section 3.2 (DDA); Radford et al., Improving Language Understanding by Generative Pre-Training
    (2018), section 3.1.
    """

    def __init__(self, text: TextEncoder):
        family = TEXT_FAMILIES[text.family]
        if not family.causal:
            raise ValueError(
                f"`text` must be causal; train {text.family}, which reads in both directions, with `masked_language` "
                f"instead. Received: {text.family}."
            )
        super().__init__(name="causal_language")
        self.family = family
        self.tokenizer = text.tokenizer
        self.length = text.length
        self.backbone = text.backbone
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """An item record to its `title`, a scalar string."""
        return {"title": record["title"]}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch of titles, tokenised.

        Args:
            examples: `title` `[batch]` strings.
            seed: `[2]` int32; nothing is random here.

        Returns:
            `token_ids` `[batch, length]` int32.
        """
        return {"token_ids": self.tokenizer.tokenize(examples["title"], self.length)}

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """`loss` and `accuracy` of what `assemble` returns, float32 scalars."""
        token_ids = batch["token_ids"]
        mask = self.tokenizer.mask(token_ids)
        sequence = self.backbone({"token_ids": token_ids, "padding_mask": mask}, training=training)["sequence"]
        # Padding never meets the vocabulary: [tokens, vocabulary] instead of [batch, length, vocabulary].
        hidden = tf.cast(tf.boolean_mask(sequence[:, :-1], mask[:, 1:]), tf.float32)  # [tokens, hidden]
        targets = tf.boolean_mask(token_ids[:, 1:], mask[:, 1:])
        return predict_tokens(hidden, targets, self.family.token_embedding(self.backbone))
