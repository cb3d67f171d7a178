"""One build of the C++ program for all tests of the gate."""

from collections.abc import Iterator

import pytest

from mim_tf.export.gate.c_api import c_api_runner
from mim_tf.export.gate.runner import Runner


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The program, newly built into a cache that the other tests of the session use too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield c_api_runner(text_ops=False)
