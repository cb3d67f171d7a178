"""The errors a user can mend; commands print them as one line, without a traceback."""


class MimError(Exception):
    """Base of every error whose message names the thing that is wrong and the remedy."""


class SettingsError(MimError, ValueError):
    """A setting is unknown, malformed, or contradicts what a finished stage was made with."""


class DataError(MimError, ValueError):
    """The catalogue or the logs break the data contract."""


class StageError(MimError, RuntimeError):
    """A stage cannot run: an upstream stage is missing, or its folder is not what it should be."""


class StageStoppedError(MimError):
    """A stage was asked to stop, did so and saved what it had; the same command continues."""


class ServingError(MimError, RuntimeError):
    """A server cannot start, or a model folder cannot be served."""


class ExportError(MimError, RuntimeError):
    """A model cannot be exported, or what was exported fails a check and is not published."""
