"""Settings of the representation center and of stage 3."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mim_tf.settings.encoder_trainings import PROFILE, Steps, Units
from mim_tf.settings.section import Section

# Fields of impressions that may be features without being named in `data.impression_features`.
ALWAYS_THERE = ("user_id", "item_age")
RankStrategy = Literal["one_device", "mirrored", "multi_worker", "parameter_server"]
UbmName = Literal["average", "bst", "dien", "din", "sim", "twin"]
ReplayShare = Annotated[float, Field(gt=0, le=1)]


class RepresentSettings(Section):
    """The embedding of every item."""

    batch_size: int = Field(256, ge=1)
    commit_rows: int = Field(8192, ge=1, description="rows per commit of the store")
    centre: bool = Field(True, description="shift h_MM by its catalogue mean; false keeps it comparable with h_q")
    encoder: str | None = Field(
        None,
        min_length=1,
        description="item encoder of an earlier run, W1/represent/item_encoder, taken as it is: not centred again, "
        "and `pretrain` and `csft` are left out; null: csft's",
    )
    store: str | None = Field(
        None, min_length=1, description="path or URI of the store, to outlive the workdir; null: in the workdir"
    )
    rows: Literal["float16", "int8"] = Field(
        "float16", description="of the table made from the store; int8: about half the memory"
    )


class HashedSettings(Section):
    """A feature whose values are hashed into rows: for ids, without a vocabulary."""

    kind: Literal["hashed"]
    bins: int = Field(2**12, ge=1, description="rows")
    dim: int = Field(8, ge=1, description="embedding dimension")


class VocabularySettings(Section):
    """A feature of few values, each with a row of its own."""

    kind: Literal["vocabulary"]
    size: int = Field(10_000, ge=1, le=100_000, description="the most frequent values; all others share one row")
    dim: int = Field(8, ge=1, description="embedding dimension")


class BucketisedSettings(Section):
    """A number whose range is cut into buckets of as many rows each."""

    kind: Literal["bucketised"]
    buckets: int = Field(10, ge=2, le=1000)
    dim: int = Field(4, ge=1, description="embedding dimension")


class NumericSettings(Section):
    """A number, standardised."""

    kind: Literal["numeric"]


FeatureSettings = Annotated[
    HashedSettings | VocabularySettings | BucketisedSettings | NumericSettings, Field(discriminator="kind")
]


class RankSettings(Section):
    """Stage 3, the click model."""

    strategy: RankStrategy = Field(
        "one_device", description="as elsewhere; parameter_server: the tables on the ps tasks of TF_CONFIG"
    )
    ubm: UbmName = Field("sim", description="user behaviour model")
    ubm_options: dict[str, Any] = Field({}, description="arguments of its layer, by name: sizes, SIM's search, ...")
    id_interest: bool = Field(True, description="the ID interest module, equation (1), of that model")
    content: bool = Field(True, description="the content interest module, equation (7)")
    fusion: bool = Field(True, description="the fusion interest module, equation (8)")
    query: bool = Field(
        False, description="the cosine of `query_embedding` and h_MM takes part; wants `represent.centre: false`"
    )
    embeddings: Literal["table", "encoder", "end_to_end"] = Field(
        "table", description="h_MM: from the representation center, from its encoder at every step, or learning too"
    )
    item_dim: int = Field(16, ge=1, description="ID embedding dimension of an item")
    category_dim: int = Field(8, ge=1, description="ID embedding dimension of a category")
    hash_bins: int = Field(2**15, ge=2, description="rows of the item ID embedding; ids are hashed into them")
    item_epsilon: float = Field(
        0.01, gt=0, description="Adam's epsilon for item IDs: rows with smaller gradients, of rare IDs, learn slowly"
    )
    features: dict[str, FeatureSettings] = Field({}, description="by column of data.item_ or impression_features")
    tower_units: tuple[Units, ...] = Field((128, 64), min_length=1, description="hidden layers of the deepCTR tower")
    activation: Literal["dice", "prelu"] = Field("prelu", description="of the tower's hidden layers")
    cross_layers: int = Field(0, ge=0, description="DCN-v2 crosses of the tower's input, before its hidden layers")
    dropout: float = Field(0.2, ge=0, lt=1, description="after each hidden layer of the tower")
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(1024, ge=1, description="impressions per step, on average, over all replicas")
    candidates: int = Field(
        8,
        ge=1,
        description="impressions of a session that share the work on its history, at most; 1: each does its own",
    )
    learning_rate: float = Field(0.005, gt=0, description="of Adam, at its peak")
    encoder_learning_rate: float = Field(1e-5, gt=0, description="likewise, of the encoder of embeddings: end_to_end")
    schedule: Literal["constant", "cosine", "linear"] = Field("constant", description="how the rate falls from there")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps in which the rate climbs to its peak")
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better validation AUC, keep the best; null: never"
    )
    negatives_kept: float = Field(
        1.0, gt=0, le=1, description="share of label-0 impressions that train; probabilities are corrected for it"
    )
    base: bool = Field(True, description="train the same without content too, to compare; false: half the time")
    seeds: int = Field(1, ge=1, description="trainings of each model, from `seed` on, for mean and interval")
    start_from: str | None = Field(None, description="workdir of an earlier run, whose weights are the start")
    replay: dict[str, ReplayShare] = Field(
        {}, description="by workdir of an earlier run, the share of its training files that train again"
    )
    profile: Steps | None = Field(None, description=PROFILE)

    @model_validator(mode="after")
    def _encoder_where_the_records_are(self) -> Self:
        if self.embeddings != "table" and self.strategy == "parameter_server":
            raise ValueError(
                f"`embeddings: {self.embeddings}` reads images in the process that trains, which a parameter server's "
                "workers cannot: set `strategy` to one_device, mirrored or multi_worker, or `embeddings` to table"
            )
        return self
