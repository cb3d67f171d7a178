"""Settings of stages 1 and 2, and of all that they leave."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mim_tf.settings.section import Section


def _in_order(steps: tuple[int, int]) -> tuple[int, int]:
    if steps[0] > steps[1]:
        raise ValueError("must be a first and a last step, in this order")
    return steps


Step = Annotated[int, Field(ge=0)]
Steps = Annotated[tuple[Step, Step], AfterValidator(_in_order)]
Units = Annotated[int, Field(ge=1)]
Strategy = Literal["one_device", "mirrored", "multi_worker"]
PROFILE = "first and last step, from 0, that are traced for TensorBoard's profiler; null: none"


class TrainingSettings(Section):
    """What every training of stages 1 and 2 has: AdamW, warm-up, cosine."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(256, ge=2, description="examples per step, over all replicas")
    learning_rate: float = Field(1e-3, gt=0, description="at its peak")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate climbs to its peak")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and scales are spared")
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this global norm")
    layer_decay: float = Field(1.0, gt=0, le=1, description="a block's rate relative to the next one's; 1: all alike")
    averaging: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average; 0: none")
    checkpoint_every: int = Field(100, ge=1, description="steps; an interrupted run continues there")
    profile: Steps | None = Field(None, description=PROFILE)


class HeldOutSettings(TrainingSettings):
    """What a training has that is measured on what it did not see."""

    evaluate_every: int = Field(100, ge=1, description="steps; what is best on held-out items is kept")


class ContrastiveSettings(TrainingSettings):
    """What the contrastive trainings have in common."""

    temperature: float = Field(0.07, gt=0, description="the cosine is divided by it; 1.0 is the paper's form")
    chunk_size: int | None = Field(None, ge=1, description="examples embedded at once, by gradient caching; null: all")


class MaskedLanguageSettings(HeldOutSettings):
    """DDA of a bidirectional text encoder."""

    mask_share: float = Field(0.15, gt=0, lt=1, description="share of a title's tokens to be predicted")
    whole_words: bool = Field(False, description="mask all pieces of a word together")


class CausalLanguageSettings(HeldOutSettings):
    """DDA of a text encoder that reads from left to right."""


class MaskedImageSettings(HeldOutSettings):
    """DDA of a transformer for images."""

    mask_share: float = Field(0.6, gt=0, lt=1, description="share of an image's squares to be predicted")
    mask_size: int | None = Field(
        None, ge=1, description="pixels, side of a square; null: about a seventh of the image's"
    )


class ImageViewsSettings(ContrastiveSettings, HeldOutSettings):
    """DDA of a convolutional network."""

    temperature: float = Field(0.2, gt=0, description="the cosine of two views is divided by it")


class ImageTextSettings(ContrastiveSettings, HeldOutSettings):
    """DMA, the alignment of images and titles."""

    temperature: float = Field(0.07, ge=0.01, description="at the start; it learns, and stays at least 0.01")
    loss: Literal["softmax", "sigmoid"] = Field("softmax", description="CLIP's or SigLIP's")


class PretrainSettings(Section):
    """Stage 1: up to two adaptations (DDA), then the alignment (DMA); null leaves one out."""

    strategy: Strategy = Field("one_device", description="mirrored: all local devices; multi_worker: TF_CONFIG's")
    masked_language: MaskedLanguageSettings | None = None
    causal_language: CausalLanguageSettings | None = None
    masked_image: MaskedImageSettings | None = None
    image_views: ImageViewsSettings | None = None
    image_text: ImageTextSettings | None = ImageTextSettings()

    @model_validator(mode="after")
    def _one_adaptation_each(self) -> Self:
        if self.masked_language and self.causal_language:
            raise ValueError("`masked_language` and `causal_language` adapt the same encoder: set one of them")
        if self.masked_image and self.image_views:
            raise ValueError("`masked_image` and `image_views` adapt the same encoder: set one of them")
        return self


OBJECTIVES = tuple(name for name in PretrainSettings.model_fields if name != "strategy")
"""Of stage 1, in the order in which they run."""


class SpaceTimeSettings(Section):
    """ST-NSG: hard negatives, all replicas' candidates and those of past batches."""

    queue_batches: int = Field(10, ge=0, description="k, past batches whose candidates are negatives too; 0: none")
    momentum: float = Field(0.0, ge=0, lt=1, description="decay of a slow encoder that fills the queue; 0: none")

    @model_validator(mode="after")
    def _something_to_fill(self) -> Self:
        if self.momentum and not self.queue_batches:
            raise ValueError("`momentum` is of the encoder that fills the queue: set `queue_batches` too, or neither")
        return self


class CsftSettings(ContrastiveSettings, HeldOutSettings):
    """Stage 2, C-SFT."""

    strategy: Strategy = Field("one_device", description="mirrored: all local devices; multi_worker: TF_CONFIG's")
    epochs: int = Field(10, ge=0, description="0: no C-SFT, the encoders of stage 1 and the sum of their embeddings")
    evaluate_every: int = Field(1000, ge=1, description="steps; retrieval over the whole catalogue is measured")
    loss: Literal["contrastive", "matching", "category"] = Field(
        "contrastive", description="matching, category: cross-entropy of bought or not, and of the item's category"
    )
    augmentation: Literal["mild", "strong"] = Field("mild", description="random views of all images")
    alpha: float = Field(0.5, ge=0, description="weight of the query-to-title loss, equation (6)")
    beta: float = Field(0.5, ge=0, description="weight of the query-to-image loss, equation (6)")
    fusion: Literal["tensor", "concat"] = Field("tensor", description="what the MLP of equation (4) gets")
    fusion_units: tuple[Units, ...] = Field((), description="hidden layers of the fusion MLP, equation (4)")
    image_weight: float = Field(1.0, ge=0, description="of the image in the sum the fusion starts as; the title's is 1")
    st_nsg: SpaceTimeSettings | None = Field(
        SpaceTimeSettings(),
        description="negatives of the contrastive loss; null: the other items of the replica's own batch",
    )
    mask_false_negatives: bool = Field(True, description="rows of the positive's or query's own item are no negatives")

    @model_validator(mode="after")
    def _something_to_tell_apart(self) -> Self:
        if self.loss == "matching" and self.st_nsg is None:
            raise ValueError("`loss: matching` needs the hard negatives of `st_nsg`")
        if not self.epochs and self.fusion_units:
            raise ValueError("`epochs: 0` sums both embeddings: `fusion_units` would be a random projection")
        return self
