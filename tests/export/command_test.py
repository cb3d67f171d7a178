"""`python -m mim_tf.export`: which of its options make what."""

import sys
from pathlib import Path

import pytest

from mim_tf.errors import ExportError, SettingsError, StageError
from mim_tf.export.__main__ import main
from tests.export.toy_run import make_run

pytestmark = pytest.mark.legacy_keras


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, "int64")
    return folder


def export(
    workdir: Path, to: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> list[str]:
    """What the command prints, folders below `to`."""
    run = ["--config", str(workdir / "run.yaml"), "--workdir", str(workdir), "--to", str(to)]
    monkeypatch.setattr(sys, "argv", ["export", *run, *options])
    main()
    return [str(Path(line).relative_to(to)) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_the_folders_are_printed(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ["--set", "export.model_name=shop"]
    assert export(workdir, tmp_path, monkeypatch, capsys, *name) == ["shop/1"]
    assert export(workdir, tmp_path, monkeypatch, capsys, *name, "--shards", "1") == ["shop_table_0/2", "shop/2"]
    tables = export(workdir, tmp_path, monkeypatch, capsys, *name, "--shards", "2", "--tables-only")
    assert tables == ["shop_table_0/3", "shop_table_1/3"]
    for folder in ["shop/1", "shop/2", *tables]:
        assert (tmp_path / folder / "saved_model.pb").exists()


@pytest.mark.slow
def test_inspect_tells_what_a_version_holds(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export(workdir, tmp_path, monkeypatch, capsys)
    monkeypatch.setattr(sys, "argv", ["export", "inspect", str(tmp_path / "ranker")])
    main()
    told = capsys.readouterr().out
    for line in (
        str(tmp_path / "ranker" / "1"),
        "    history_item_id: int64 [?, ?]",
        " -> probability: float32 [?]",
        "encoder     random",
        ", items 60, dim 4, shard 0, shards 1",
        "  rank.hash_bins: ",
        "gate        passed sizes, cases, stock ops, reload",
    ):
        assert line in told
    monkeypatch.setattr(sys, "argv", ["export", "inspect", str(tmp_path)])
    with pytest.raises(ExportError, match=rf"must hold a SavedModel, .* Give one of {tmp_path / 'ranker'}\."):
        main()


def test_an_encoder_that_is_not_there_names_the_remedy(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StageError, match=r"item_encoder_model is missing\. Delete .*represent and run the stage again"):
        export(workdir, tmp_path, monkeypatch, capsys, "--encoders")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--tables-only"], r"--tables-only is for tables of their own: give --shards too\."),
        (["--shards", "8"], r"--shards: `total` of shards must be 1 to 7"),
        (["--set", "export.model_name=item_encoder"], r"`model_name` must not be item_encoder"),
        (["--set", "export.model_name=query_encoder"], r"`model_name` must not be query_encoder"),
        (["--set", "export.spare=-1"], r"`export\.spare`: .*greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    workdir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    match: str,
) -> None:
    with pytest.raises(SettingsError, match=match):
        export(workdir, tmp_path, monkeypatch, capsys, *options)
    assert not list(tmp_path.iterdir())
