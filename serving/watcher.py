"""Follows a models folder while the server runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from pathlib import Path

from mim_tf.errors import ServingError
from mim_tf.serving.models import Models
from mim_tf.serving.servable import Servable
from mim_tf.serving.unloading import free_memory
from mim_tf.serving.version_folders import VersionFolder, highest_version

_LOG = logging.getLogger(__name__)


class Watcher:
    """Keeps every model at the highest version of its folder, by TF Serving's policy "latest".

    The highest version is loaded while the one before goes on answering, then takes its place; the one before is
    dropped when its last request has ended. If a version fails to load, the one before stays, until something in the
    failed version's folder changes or another is the highest. If no version is left, the model is dropped; if its
    folder cannot be read or is gone, it stays. Models that were not there when the server started are not looked for.

    Args:
        models: What is served. Nobody else may replace any of it.
        poll_seconds: Pause between two looks at the folder.
    """

    def __init__(self, models: Models, poll_seconds: float) -> None:
        self._models = models
        self._poll_seconds = poll_seconds
        self._replaced: list[Servable] = []  # and not unloaded yet
        self._problems: dict[str, Hashable] = {}  # by model, what was reported and not solved since
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Looks at the folder from now on, in a thread of its own."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="serving-watcher")
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; a version that is being loaded is loaded to its end first."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def look(self) -> None:
        """Looks at the folder once and does what is to be done."""
        for name in self._models.current:
            try:
                self._follow(name, self._models.folder / name)
            except OSError as error:
                if self._is_news(name, str(error)):
                    _LOG.warning('model "%s": its folder cannot be read, what answers stays as it was: %s', name, error)
            self._unload_replaced()

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:  # whatever it is, the server answers and the next look may succeed
                _LOG.exception("The models folder could not be followed. It is tried again.")

    def _follow(self, name: str, folder: Path) -> None:
        """Brings one model to the highest version in its folder."""
        served = self._models.current[name].servable
        highest = highest_version(folder)
        if highest is not None and (served is None or highest.version != served.version):
            self._load(name, highest)
            return
        self._problems.pop(name, None)
        if highest is None and served is not None:
            self._serve(name, None)

    def _load(self, name: str, found: VersionFolder) -> None:
        # Taken before: what changes while it is loaded makes it be tried again.
        if not self._is_news(name, (found, found.fingerprint())):
            return
        self._models.replace(name, self._models.current[name].loading(found.version))
        try:
            self._serve(name, Servable(name, *found))
            return
        except ServingError as error:
            _LOG.error("%s", f"{error} What answers stays as it was.")
            self._models.replace(name, self._models.current[name].failed(found.version, error))
        free_memory()  # of what had been loaded, which the error held until here

    def _serve(self, name: str, servable: Servable | None) -> None:
        """Swaps what answers for a model."""
        before = self._models.current[name]
        self._models.replace(name, before.serving(servable))
        if before.servable is not None:
            self._replaced.append(before.servable)
        now = f"version {servable.version} is served" if servable is not None else "no version is left"
        _LOG.info('model "%s": %s.', name, now)

    def _unload_replaced(self) -> None:
        """Unloads what is replaced and has no request under way any more."""
        for servable in [servable for servable in self._replaced if not servable.requests]:
            self._replaced.remove(servable)
            servable.unload()
            self._models.replace(servable.name, self._models.current[servable.name].ended(servable.version))

    def _is_news(self, name: str, problem: Hashable) -> bool:
        """Notes a problem with a model, if it was not noted already."""
        if self._problems.get(name) == problem:
            return False
        self._problems[name] = problem
        return True
