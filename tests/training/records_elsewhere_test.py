"""A run whose records are left in an object store, S3 as moto serves it, beside one that has them in its workdir."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mim_tf.errors import DataError
from mim_tf.settings import Settings, dump_settings, parse_settings
from mim_tf.training import prepare
from mim_tf.workdir import StageFolder
from tests.conftest import LEGACY
from tests.free_ports import free_ports
from tests.representation.store_s3_test import MOTO, make_bucket
from tests.training.toy_ranking import make_workdir

if LEGACY:  # TFRS refuses Keras 3
    from mim_tf.training import rank

pytestmark = [pytest.mark.legacy_keras, pytest.mark.slow]

URI = "s3://bucket/day/records"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not MOTO.exists():
        pytest.skip("`make .venv-moto/installed` installs the S3 to test against")
    [port] = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    settings = {"ENDPOINT_URL": endpoint, "DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with subprocess.Popen([MOTO, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        make_bucket(f"{endpoint}/bucket")
        yield
        server.terminate()


def settings_elsewhere(settings: Settings, **data: str) -> Settings:
    tree = settings.model_dump(mode="json")
    return parse_settings(tree | {"data": tree["data"] | {"records": URI} | data}, "test")


def test_it_trains_as_if_they_were_here(bucket: None, tmp_path: Path) -> None:
    here, there, cache = tmp_path / "here", tmp_path / "there", tmp_path / "cache"
    settings = make_workdir(here, epochs=1)
    elsewhere = settings_elsewhere(settings, cache=str(cache))
    shutil.copytree(here, there)
    shutil.rmtree(there / "prepare")
    stage = StageFolder(there, "prepare")
    with stage.begin(elsewhere):
        stage.finish(prepare.run(elsewhere, there))
    assert not list(there.rglob("*.tfrecord*"))
    measured = [rank.run(of, workdir) for of, workdir in ((settings, here), (elsewhere, there))]
    for metrics in measured:
        del metrics["seconds"]
    assert measured[0] == measured[1]
    assert list(cache.rglob("impressions/*.tfrecord.gz"))
    assert not list(cache.rglob("pairs/*"))  # nobody asked for them
    (there / "run.yaml").write_text(dump_settings(elsewhere))
    shutil.rmtree(there / "prepare")
    with (
        pytest.raises(DataError, match=rf"`data\.records` must be an empty folder.* Received: {URI}"),
        stage.begin(elsewhere),
    ):
        prepare.run(elsewhere, there)
