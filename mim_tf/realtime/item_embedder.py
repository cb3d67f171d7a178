"""Items' embeddings from their images and titles: in this process, or by a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf

from mim_tf.errors import ServingError, SettingsError
from mim_tf.realtime.event import Event
from mim_tf.serving.client import Client, Tls
from mim_tf.settings import ITEM_ENCODER

# Embeddings [n, dim] float32 of n encoded images and titles, and the fingerprint of the encoder.
Embed = Callable[[Sequence[bytes], Sequence[str]], tuple[np.ndarray, str]]


class UnavailableError(Exception):
    """The encoder cannot be asked now, whatever it is asked."""


class Embedded(NamedTuple):
    """What became of a batch of events."""

    items: list[tuple[Event, np.ndarray]]  # each with its embedding [dim]
    poison: list[tuple[Event, str]]  # what no encoder takes, with the reason


class ItemEmbedder:
    """Embeds events a batch at a time, and finds those that the encoder does not take.

    Args:
        embed: runs the encoder. It raises `ValueError` where the input is at fault, `UnavailableError` where it is not.
        fingerprint: of the encoder that the store's embeddings are of.
    """

    def __init__(self, embed: Embed, fingerprint: str):
        self._embed, self.fingerprint = embed, fingerprint

    def __call__(self, events: Sequence[Event]) -> Embedded:
        """Embed at least one event; a batch that fails is halved until what fails stands alone.

        Raises:
            SettingsError: the encoder is another one than the store's.
            UnavailableError: it cannot be asked now.
        """
        try:
            embeddings, fingerprint = self._embed([event.image for event in events], [event.title for event in events])
        except ValueError as error:
            if len(events) == 1:
                return Embedded([], [(events[0], f"the encoder fails: {error}")])
            one, other = self(events[: len(events) // 2]), self(events[len(events) // 2 :])
            return Embedded(one.items + other.items, one.poison + other.poison)
        self._check(fingerprint)
        return _told_apart(events, embeddings)

    def warm_up(self) -> None:
        """Embed a black square: the first call takes an encoder longer than all others, and shows whether it works.

        Raises:
            SettingsError: it does not, or is another one than the store's. If it cannot be asked now, nothing is.
        """
        square = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy()
        with suppress(UnavailableError):
            try:
                _, fingerprint = self._embed([square], ["-"])
            except ValueError as error:
                raise SettingsError(f"`realtime.encoder` must embed a picture and a title. It says: {error}") from error
            self._check(fingerprint)

    def _check(self, fingerprint: str) -> None:
        if fingerprint != self.fingerprint:
            raise SettingsError(
                f"`realtime.encoder` must serve {self.fingerprint}, of which the store's embeddings are. Received: "
                f"{fingerprint}."
            )


def _told_apart(events: Sequence[Event], embeddings: np.ndarray) -> Embedded:
    """Those that the store can keep, and the others."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(embeddings.astype(np.float16)).all(axis=1)
    kept, refused = np.flatnonzero(finite).tolist(), np.flatnonzero(~finite).tolist()
    items = [(events[place], embeddings[place]) for place in kept]
    return Embedded(items, [(events[place], "the embedding is not finite") for place in refused])


def local_embed(model: Any, fingerprint: str) -> Embed:
    """An encoder in this process.

    Args:
        model: with a function `embed` of encoded images and titles, as `load_item_encoder_model` gives it.
        fingerprint: of the encoder.
    """

    def embed(images: Sequence[bytes], titles: Sequence[str]) -> tuple[np.ndarray, str]:
        try:
            return model.embed(tf.constant(images), tf.constant(titles)).numpy(), fingerprint
        except tf.errors.OpError as error:
            # Before the reason TensorFlow writes where in the graph it was.
            reason = error.message.rpartition("<stack traces unavailable>\n")[2]
            raise ValueError(reason.strip().split("\n")[0]) from error

    return embed


def remote_embed(address: str, timeout: float = 30.0, tls: Tls | None = None) -> Embed:
    """An encoder behind gRPC: the model `item_encoder` of a server.

    Args:
        address: `host:port`.
        timeout: longest wait for a batch, seconds.
        tls: how the connection is encrypted; None for not at all.

    Raises:
        ServingError: a file of `tls` is not what it should be.
    """
    client = Client(address, timeout=timeout, tls=tls)

    def embed(images: Sequence[bytes], titles: Sequence[str]) -> tuple[np.ndarray, str]:
        inputs = {"image": np.array(images, object), "title": np.array(titles, object)}
        try:
            answer = client.predict(ITEM_ENCODER, inputs, signature="embed")
        except ServingError as error:
            cause = error.__cause__
            if isinstance(cause, grpc.RpcError) and cause.code() == grpc.StatusCode.INVALID_ARGUMENT:
                raise ValueError(cause.details()) from error
            raise UnavailableError(str(error)) from error
        return answer["embedding"], answer["encoder"][0].decode()

    return embed
