"""Follows the configuration and the folders of the models while the server runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Iterable

from mim_tf.errors import ServingError
from mim_tf.serving.server.model_config_file import ModelConfigFile
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.served_model import ServedModel
from mim_tf.serving.server.unloading import free_memory
from mim_tf.serving.server.version_folders import VersionFolder

_LOG = logging.getLogger(__name__)


class Watcher:
    """Keeps every model at the versions that its `ModelConfig` asks for.

    A version that is asked for is loaded while the ones before go on answering, and gets its labels. Those that are
    asked for no more are then dropped, and unloaded when their last request has ended; but as long as none that is
    asked for is there, they stay. A version that fails to load is tried again when something in its folder changes or
    when it was away. If no version is left, the model is dropped; if its folder cannot be read or is gone, it stays.

    The configuration file is read at every look, so models may come and go with it; in a folder of models, those that
    were not there when the server started are not looked for. If the file cannot be read, what it said before stays. If
    a label is to be given to a version that is not available, all labels of its model stay as they were until it is.

    Args:
        models: What is served. Nobody else may change any of it.
        poll_seconds: Pause between two looks at the folders.
        file: Where the models are configured, if they are in a file.
    """

    def __init__(self, models: Models, poll_seconds: float, file: ModelConfigFile | None = None) -> None:
        self._models = models
        self._poll_seconds = poll_seconds
        self._file = file
        self._replaced: list[Servable] = []  # and not unloaded yet
        self._problems: dict[Hashable, Hashable] = {}  # by what has it: what was reported and not solved since
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Looks from now on, in a thread of its own."""
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
        """Looks at the configuration and the folders once and does what is to be done."""
        if self._file is not None:
            self._read_again(self._file)
        for name in sorted(self._models.current.keys() | self._models.configs.keys()):
            self._follow(name)
            self.unload_replaced()

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:  # whatever it is, the server answers and the next look may succeed
                _LOG.exception("The models could not be followed. It is tried again.")

    def _read_again(self, file: ModelConfigFile) -> None:
        """Takes over what the configuration file says by now."""
        try:
            self._models.configs = file.read()
            self._problems.pop(file, None)
        except ServingError as error:
            if self._is_news(file, str(error)):
                _LOG.error("%s What is served stays as it was.", error)

    def _follow(self, name: str) -> None:
        """Brings one model to the versions and labels that are asked for."""
        try:
            wanted = self._load_wanted(name)
        except OSError as error:
            if self._is_news(name, str(error)):
                _LOG.warning('model "%s": its folder cannot be read, what answers stays as it was: %s', name, error)
            wanted = set(self._served(name).servables)
        self._label(name)  # while the versions that the labels leave are still there
        served = self._served(name).servables.keys()
        if not wanted or wanted & served:
            for version in sorted(served - wanted):
                self._drop(name, version)

    def _load_wanted(self, name: str) -> set[int]:
        """Loads what is asked for and not there, and returns all versions that are asked for."""
        config = self._models.configs.get(name)
        wanted = config.wanted() if config is not None else {}
        self._forget_problems(name, wanted.keys())
        for found in wanted.values():
            if found.version not in self._served(name).servables:
                self._load(name, found)
        return set(wanted)

    def _served(self, name: str) -> ServedModel:
        return self._models.current.get(name, ServedModel())

    def _load(self, name: str, found: VersionFolder) -> None:
        # Taken before: what changes while it is loaded makes it be tried again.
        if not self._is_news((name, found.version), (found, found.fingerprint())):
            return
        self._models.replace(name, self._served(name).loading(found.version))
        try:
            servable = self._models.load(name, found)
        except ServingError as error:
            _LOG.error("%s", f"{error} What answers stays as it was.")
            self._models.replace(name, self._served(name).failed(found.version, error))
        else:
            self._models.replace(name, self._served(name).serving(servable))
            _LOG.info('model "%s": version %s is served.', name, found.version)
            return
        free_memory()  # of what had been loaded, which the error held until here

    def _drop(self, name: str, version: int) -> None:
        """Lets a version answer no new requests."""
        before = self._served(name)
        self._models.replace(name, before.dropping(version))
        self._replaced.append(before.servables[version])
        left = "" if self._served(name).servables else ", no version is left"
        _LOG.info('model "%s": version %s is served no more%s.', name, version, left)

    def _label(self, name: str) -> None:
        """Gives a model the labels that are asked for, once their versions are there."""
        subject = (self._models, name)
        try:
            self._models.assign_labels(name)
            self._problems.pop(subject, None)
        except ServingError as error:
            if self._is_news(subject, str(error)):
                _LOG.error("%s", error)

    def unload_replaced(self) -> None:
        """Unloads what is replaced and has no request under way any more."""
        for servable in [servable for servable in self._replaced if not servable.requests]:
            self._replaced.remove(servable)
            servable.unload()
            self._models.replace(servable.name, self._models.current[servable.name].ended(servable.version))

    def _forget_problems(self, name: str, wanted: Iterable[int]) -> None:
        """Forgets those of a model whose folder can be read, except of versions that are there and fail to load."""
        failing = {(name, version) for version in wanted if version not in self._served(name).servables}
        of_model = {key for key in self._problems if key == name or (isinstance(key, tuple) and key[0] == name)}
        for solved in of_model - failing:
            del self._problems[solved]

    def _is_news(self, subject: Hashable, problem: Hashable) -> bool:
        """Notes a problem of something, if it was not noted already."""
        if self._problems.get(subject) == problem:
            return False
        self._problems[subject] = problem
        return True
