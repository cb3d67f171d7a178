"""A version change while load goes on."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.load.phases import Notes
from mim_tf.serving.server.version_folders import find_versions

_POLL = 0.1  # seconds between two questions for the server's versions


class Reload:
    """Publishes a copy of a model's newest version as the next integer, and takes it away again at the end.

    The copy is the same model, so answers stay as they are. A table inside it begins as it was exported, as after any
    version change: it lacks what was sent to the served one since, until the real-time process has sent it again.

    Used as a context manager: on the way out the copy loses its name, and is deleted when the version before answers.

    Args:
        client: of the server.
        models: the folder that the server serves from.
        model: which is copied.
        timeout: longest wait for a version to be served, seconds.

    Raises:
        ServingError: the folder holds no version of the model.
    """

    def __init__(self, client: Client, models: Path, model: str, timeout: float = 600.0):
        found = find_versions(models / model) if (models / model).is_dir() else {}
        if not found:
            raise ServingError(f"`models` must be the served folder, with a version of {model}. Received: {models}.")
        self._client, self._model, self._timeout = client, model, timeout
        self._newest = found[max(found)]
        self._version = self._newest.version + 1
        self._folder = models / model / str(self._version)
        self._aside = self._folder.with_name(f"{self._version}.load_test")  # no integer: no server looks at it
        self._published = False

    def publish(self, over: threading.Event) -> Notes:
        """Copy, rename, and wait until the server serves the copy.

        Args:
            over: ends the waiting early.

        Returns:
            Seconds that the copying and then the server's loading took.

        Raises:
            ServingError: the server does not serve it in time, or at all, or serves another folder.
            OSError: it cannot be copied, or somebody else published that version meanwhile.
        """
        served = self._client.model_status(self._model)
        if self._newest.version not in served:
            raise ServingError(
                f"`models` must be the folder that the server serves, whose highest version is {self._newest.version}. "
                f"Received: {self._newest.path.parent.parent}, and a server of {', '.join(map(str, sorted(served)))}."
            )
        begun = time.monotonic()
        shutil.copytree(self._newest.path, self._aside)
        os.rename(self._aside, self._folder)
        self._published = True
        copied = time.monotonic()
        self._wait(lambda served: self._version in served, over)
        return {"copy_seconds": copied - begun, "load_seconds": time.monotonic() - copied}

    def __enter__(self) -> Reload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._published:
            os.rename(self._folder, self._aside)  # at once, so that a server never sees a part
        try:
            if self._published and error is None:
                self._wait(
                    lambda served: bool(served - {self._version}) and self._version not in served, threading.Event()
                )
        finally:
            if self._aside.exists():
                shutil.rmtree(self._aside)

    def _wait(self, wanted: Callable[[set[int]], bool], over: threading.Event) -> None:
        """Until the versions that are served are as wanted."""
        end = time.monotonic() + self._timeout
        seen: object = "nothing yet"
        while time.monotonic() < end and not over.wait(_POLL):
            try:
                seen = states = self._client.model_status(self._model)
            except ServingError as error:  # under load it may be slow to answer this, too
                seen = error
                continue
            if wanted({version for version, state in states.items() if state == "AVAILABLE"}):
                return
            if self._folder.exists() and states.get(self._version) == "END":
                raise ServingError(
                    f"version {self._version} of {self._model} failed to load: the server's log says why."
                )
        if not over.is_set():
            raise ServingError(f"{self._model} did not change its version within {self._timeout} s: {seen}.")
