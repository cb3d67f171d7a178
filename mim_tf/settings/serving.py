"""Settings of what is exported and of what is served live."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mim_tf.settings.section import Section

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
