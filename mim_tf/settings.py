"""One YAML file describes a whole run; this module turns it into typed, checked, immutable settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mim_tf.encoder_names import TextName, VisionName
from mim_tf.errors import SettingsError


def _seconds(value: Any) -> Any:
    """A date, in YAML's own form or ISO 8601 text, as seconds since 1970 UTC; numbers pass through."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date as 2025-04-07, or seconds since 1970 UTC") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return value


Seconds = Annotated[int, BeforeValidator(_seconds)]
Units = Annotated[int, Field(ge=1)]
ReplayShare = Annotated[float, Field(gt=0, le=1)]


def _in_order(steps: tuple[int, int]) -> tuple[int, int]:
    if steps[0] > steps[1]:
        raise ValueError("must be a first and a last step, in this order")
    return steps


Step = Annotated[int, Field(ge=0)]
Steps = Annotated[tuple[Step, Step], AfterValidator(_in_order)]
_PROFILE = "first and last step, from 0, that are traced for TensorBoard's profiler; null: none"


class Section(BaseModel):
    """A group of settings that refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DataSettings(Section):
    """The shop's files and how they become training records."""

    items: str = Field(description="catalogue: path, folder or URI of Parquet, CSV or JSON lines")
    impressions: str | None = Field(None, description="impression log; needed by the rank stage")
    pairs: str | None = Field(None, description="visual search log; without one, pairs are mined from impressions")
    validation_pairs: str | None = Field(None, description="search log that C-SFT is measured on; null: later rows")
    title: tuple[str, ...] = Field(("title",), min_length=1, description="item columns joined into the title text")
    validation_from: Seconds | None = Field(None, description="date or second (UTC) at which validation starts")
    train_from: Seconds | None = Field(
        None, description="date or second (UTC) before which impressions are history alone, and queries of mined pairs"
    )
    history_length: int = Field(50, ge=1, description="behaviours kept per impression, the latest ones")
    session_seconds: int = Field(1800, ge=1, description="a longer pause of a user begins another session, seconds")
    neighbours: str | None = Field(
        None,
        description="item column of broader categories, for hard negatives; null: the categories beside it by name",
    )
    pairs_action: Literal["click", "purchase"] = Field("purchase", description="what makes a pair")
    pairs_rule: Literal["co_purchase", "same_category"] = Field(
        "co_purchase", description="mined pairs: which earlier items are queries; same_category: of the item's own"
    )
    pairs_per_purchase: int = Field(3, ge=1, description="mined pairs: queries per item chosen, the latest ones")
    pairs_window_days: int = Field(60, ge=1, description="mined pairs: how old such a query may be, days")
    pairs_share: float = Field(1.0, ge=0, le=1, description="mined pairs: share kept, by a hash; 0: none are mined")
    item_features: tuple[str, ...] = Field((), description="item columns kept as features, of targets and behaviours")
    impression_features: tuple[str, ...] = Field((), description="impression columns of users, contexts and queries")
    first_seen: str | None = Field(
        None, description="item column, date or second (UTC) of its first appearance; null: its first impression"
    )
    shards: int = Field(
        4,
        ge=1,
        description="record files per split; at least the workers that train, or the cores that write",
    )
    records: str | None = Field(
        None, description="URI of an empty folder for the record files; null: W/prepare/records"
    )
    cache: str | None = Field(
        None, description="folder of each machine that files of `records` are fetched to; null: W/prepare/records"
    )
    held_out: float = Field(0.1, ge=0, lt=1, description="share of items kept out of stage 1, by a hash of the id")

    @model_validator(mode="after")
    def _something_to_cache(self) -> Self:
        if self.cache is not None and self.records is None:
            raise ValueError("`cache` is for record files in an object store: set `records` too")
        return self


class EncoderTrainingSettings(Section):
    """How much of an encoder learns."""

    weights: str | None = Field(None, description="folder or keras-nlp preset to start from; null: random weights")
    trainable_blocks: int | None = Field(None, ge=0, description="the last blocks that learn; null: all, 0: none")
    lora_rank: int = Field(0, ge=0, description="low-rank adapters learn instead of the backbone; 0: none")
    recompute: bool = Field(False, description="recompute activations: less memory, a longer step")
    projection: Literal["learnt", "principal"] = Field(
        "learnt", description="from the backbone to `dim`; principal: fixed, its principal components on the catalogue"
    )

    @model_validator(mode="after")
    def _one_way_to_freeze(self) -> Self:
        if self.lora_rank and self.trainable_blocks is not None:
            raise ValueError("`lora_rank` and `trainable_blocks` exclude each other")
        if self.projection == "principal" and not self.weights:
            raise ValueError("`projection: principal` is for pre-trained backbones: set `weights` too")
        return self


class VisionSettings(EncoderTrainingSettings):
    """F_V."""

    name: VisionName = Field("vit_mini", description="a size, or with weights a family")
    image_size: int | None = Field(None, ge=8, description="pixels, both sides; null: the weights', or 224")


class TextSettings(EncoderTrainingSettings):
    """F_L."""

    name: TextName = Field("bert_tiny", description="a size, or with weights a family")
    length: int = Field(24, ge=4, description="tokens per title, the rest is cut off")


class EncoderSettings(Section):
    """Both encoders and the embedding dimension they share."""

    vision: VisionSettings = VisionSettings()
    text: TextSettings = TextSettings()
    dim: int = Field(64, ge=2, description="embedding dimension")
    precision: Literal["float32", "mixed_bfloat16"] = Field("float32", description="of the backbones")


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
    profile: Steps | None = Field(None, description=_PROFILE)


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


Strategy = Literal["one_device", "mirrored", "multi_worker"]
# Fields of impressions that may be features without being named in `data.impression_features`.
ALWAYS_THERE = ("user_id", "item_age")
RankStrategy = Literal["one_device", "mirrored", "multi_worker", "parameter_server"]


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


UbmName = Literal["average", "bst", "dien", "din", "sim", "twin"]


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
    profile: Steps | None = Field(None, description=_PROFILE)

    @model_validator(mode="after")
    def _encoder_where_the_records_are(self) -> Self:
        if self.embeddings != "table" and self.strategy == "parameter_server":
            raise ValueError(
                f"`embeddings: {self.embeddings}` reads images in the process that trains, which a parameter server's "
                "workers cannot: set `strategy` to one_device, mirrored or multi_worker, or `embeddings` to table"
            )
        return self


ITEM_ENCODER, QUERY_ENCODER = "item_encoder", "query_encoder"  # as models


class ExportSettings(Section):
    """The SavedModel."""

    model_name: str = Field("ranker", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="folder and served name")
    spare: float = Field(
        0.25, ge=0, description="rows kept free for new items, as a share of those there; 1,024 or more"
    )
    most_pairs: int = Field(
        2**20,
        ge=1,
        description="of candidate and behaviour in a request, padding included: 1,000 candidates of a user with 1,048 "
        "behaviours. A pair may take some kB for a while, so it bounds the memory of a request",
    )
    gate_seconds: float = Field(600.0, gt=0, description="that each process of the gate may take, loading included")

    @model_validator(mode="after")
    def _a_name_of_its_own(self) -> Self:
        if self.model_name in (ITEM_ENCODER, QUERY_ENCODER):
            raise ValueError(f"`model_name` must not be {self.model_name}, which is the encoder's own")
        return self


class TlsSettings(Section):
    """How connections to servers are encrypted; files are PEM."""

    roots: str | None = Field(None, description="authorities that may have signed the servers'; null: public ones")
    certificate: str | None = Field(None, description="this client's, for servers that ask for one")
    key: str | None = Field(None, description="private key of `certificate`, without a password")
    server_name: str | None = Field(None, description="that the servers' certificates hold; null: each server's host")

    @model_validator(mode="after")
    def _certificates_have_keys(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` must be given together")
        return self


class RealtimeSettings(Section):
    """New items, from where they appear into the store and the servers."""

    source: str = Field("incoming", description="folder of JSON lines, or kafka://broker:port,broker:port/topic")
    kafka: dict[str, str] = Field({}, description="options of librdkafka: group.id, security.protocol, ...")
    images: str | None = Field(None, description="folder of `image_path`; null: the source, if that is a folder")
    window_seconds: float = Field(1.0, gt=0, description="at most so long after its first event a window is committed")
    window_rows: int = Field(1024, ge=1, description="events; a window that has so many is committed at once")
    batch_size: int = Field(32, ge=1, description="items embedded at once")
    encoder: str | None = Field(None, description="host:port of a server of item_encoder; null: in this process")
    servers: tuple[str, ...] = Field((), description="host:port/model of every server that holds a table")
    tls: TlsSettings | None = Field(None, description="for `encoder` and `servers`; null: they are not encrypted")
    metrics_host: str = Field("127.0.0.1", description="address at which Prometheus may ask")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="port for Prometheus; 0: a free one; null: none")
    compact_every: int = Field(300, ge=1, description="commits after which the store is compacted")
    keep_hours: float = Field(1.0, gt=0, description="age from which compaction removes versions; tagged ones stay")


class ExperimentSettings(Section):
    """What `mim_tf.experiment` compares, beside what the other sections say."""

    seeds: int = Field(5, ge=1, description="whole chains, from the data to the click model, of each version")
    ubms: dict[UbmName, dict[str, Any]] = Field(
        {}, description="settings of `rank` that a user behaviour model has of its own, as {bst: {epochs: 8}}"
    )
    vision: tuple[VisionSettings, ...] = Field((), description="Figure 5: others than `encoders.vision`, weakest first")
    text: tuple[TextSettings, ...] = Field((), description="Figure 5: others than `encoders.text`, weakest first")


class Settings(Section):
    """A whole run."""

    data: DataSettings
    encoders: EncoderSettings = EncoderSettings()
    pretrain: PretrainSettings = PretrainSettings()
    csft: CsftSettings = CsftSettings()
    represent: RepresentSettings = RepresentSettings()
    rank: RankSettings = RankSettings()
    export: ExportSettings = ExportSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _files_where_they_are_read(self) -> Self:
        if self.data.cache is not None and self.rank.strategy == "parameter_server":
            raise ValueError(
                "`data.cache` is filled by the process that reads, which a parameter server's workers cannot: leave it "
                "out, so that the files are fetched to the workdir"
            )
        return self

    @model_validator(mode="after")
    def _fitting_behaviour_models(self) -> Self:
        """What a user behaviour model has of its own must be settings of `rank`, and none that tables compare."""
        compared = {"base", "content", "fusion", "id_interest", "seeds", "strategy", "ubm"}
        for ubm, own in self.experiment.ubms.items():
            if wrong := ", ".join(sorted(compared & own.keys())):
                raise ValueError(f"`experiment.ubms.{ubm}` must leave out what is compared. Received: {wrong}")
            try:
                RankSettings.model_validate({**self.rank.model_dump(), "ubm": ubm, "ubm_options": {}, **own})
            except ValidationError as error:
                problem = _problem(error.errors()[0])
                raise ValueError(f"`experiment.ubms.{ubm}` must be settings of `rank`: {problem}") from error
        return self

    @model_validator(mode="after")
    def _comparable_queries(self) -> Self:
        if self.rank.query and self.represent.centre:
            raise ValueError("`rank.query` compares queries with h_MM, which `represent.centre` moves: set it to false")
        return self

    @model_validator(mode="after")
    def _known_features(self) -> Self:
        columns = [*self.data.item_features, *self.data.impression_features, *ALWAYS_THERE]
        for name in self.rank.features:
            if name not in columns:
                known = ", ".join(sorted(columns))
                raise ValueError(
                    f"`rank.features` must name columns of `data.item_features` or `impression_features`, {known}. "
                    f"Received: {name}"
                )
        return self


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML file and apply `a.b=value` overrides.

    Args:
        path: the YAML file.
        overrides: `section.key=value` texts; the value is read as YAML.

    Raises:
        SettingsError: a file that is missing or no YAML mapping, a malformed override, an unknown key or a wrong value.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} must hold a mapping of sections. Received: {type(tree).__name__}.")
    tree = {section: {} if values is None else values for section, values in tree.items()}  # a heading alone
    for override in overrides:
        _apply(tree, override)
    return parse_settings(tree, source=str(path))


def parse_settings(tree: dict[str, Any], source: str) -> Settings:
    """Settings from a tree of plain values; `source` names it in errors."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        problems = [f"  {_problem(entry)}" for entry in error.errors()]
        raise SettingsError("\n".join([f"{source}: {len(problems)} wrong setting(s)", *problems])) from error


def dump_settings(settings: Settings) -> str:
    """The resolved settings, defaults included, as YAML."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise SettingsError(f"--set must be section.key=value. Received: {override!r}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {key}: the value is not valid YAML. Received: {text!r}.") from error
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(tree.setdefault(section, {}), dict):
            raise SettingsError(f"--set {key}: {section!r} is a value, not a section.")
        tree = tree[section]
    tree[name] = value


def _problem(entry: Any) -> str:
    """One of pydantic's errors in our words, with the known keys where one is unknown."""
    path = [str(part) for part in entry["loc"]]
    if path[:2] == ["rank", "features"]:
        del path[3:4]  # pydantic puts the kind of feature there
    name = ".".join(path)
    if entry["type"] == "extra_forbidden":
        known = ", ".join(sorted(_section_at([str(part) for part in entry["loc"][:-1]]).model_fields))
        return f"`{name}` is not a setting. Known here: {known}."
    if entry["type"] == "missing":
        return f"`{name}` must be set."
    if entry["type"] == "union_tag_not_found":
        return f"`{name}.kind` must be set."
    if isinstance(entry["input"], dict):  # a rule between settings names them itself
        rule = entry["msg"].removeprefix("Value error, ")
        return f"`{name}`: {rule}." if name else f"{rule}."
    return f"`{name}`: {entry['msg']}. Received: {entry['input']!r}."


def _section_at(path: list[str]) -> type[Section]:
    """The section at a path of pydantic's, in which keys of a mapping and kinds of a union are parts too."""
    sections: list[type[Section]] = [Settings]
    for name in path:
        of_field = [section for section in sections if name in section.model_fields]
        if of_field:
            sections = _sections_in(of_field[0].model_fields[name].annotation)
        else:
            sections = [section for section in sections if name in _kinds_of(section)] or sections
    return sections[0]


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]


def _kinds_of(section: type[Section]) -> tuple[Any, ...]:
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()
