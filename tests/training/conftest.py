"""What several tests of trainings need."""

import pytest

from tests.training.free_addresses import free_addresses


@pytest.fixture
def addresses() -> tuple[str, ...]:
    """Of three free ports."""
    return tuple(free_addresses(3))
