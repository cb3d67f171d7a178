"""One finished toy run, and its page, for all tests of them."""

from pathlib import Path
from typing import NamedTuple

import pytest

from mim_tf.settings import Settings


class Run(NamedTuple):
    """A workdir and what the command makes of it."""

    folder: Path
    settings: Settings
    page: str


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from mim_tf.report.report import report
    from tests.report.toy_run import make_run

    folder = tmp_path_factory.mktemp("run")
    settings = make_run(folder)
    return Run(folder, settings, report(settings, folder, "--config run.yaml"))
