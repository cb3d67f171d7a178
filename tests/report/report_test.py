"""The page of a toy run: what stands in it, against other libraries and the log itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.errors import StageError
from mim_tf.report.report import report
from mim_tf.training.scoring import Scored, predictions_path
from tests.pages.markup_test import Parsed
from tests.report.conftest import Run
from tests.report.toy_run import EVIL, ITEMS, make_run


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def text_of(page: str) -> str:
    return "".join(Parsed(page).texts)


def test_all_sections_are_there(run: Run) -> None:
    assert headings(run.page) == [
        "The run",
        "What the click model is worth",
        "Learning curves",
        "Nearest neighbours of some items",
        "What query photos find",
        "Some users",
        "Gains by age and category",
        "Calibration",
        "Where MIM loses",
    ]
    anchors = {attributes["href"] for tag, attributes in Parsed(run.page).elements if tag == "a"}
    assert anchors == {f"#{attributes['id']}" for tag, attributes in Parsed(run.page).elements if tag == "section"}


def test_the_headline_is_scikit_learns_auc(run: Run) -> None:
    model, base = (Scored.load(predictions_path(run.folder, variant, 0)) for variant in ("model", "base"))
    auc, base_auc = (roc_auc_score(one.labels, one.probabilities) for one in (model, base))
    [cells] = re.findall(r"<tr><th scope=\"row\">AUC</th>(.*?)</tr>", run.page)
    found = [float(number) for number in re.findall(r"<td>([+-]?0\.\d{4}) \(", cells)]
    assert found == pytest.approx([auc, base_auc, auc - base_auc], abs=5e-5)
    assert f"{len(model.labels):,} validation impressions of {len(set(model.users.tolist()))} users" in run.page


def test_nothing_from_data_is_markup_and_nothing_is_loaded(run: Run) -> None:
    elements = Parsed(run.page).elements
    assert EVIL in text_of(run.page)
    assert [tag for tag, _ in elements].count("script") == 1
    sources = [attributes.get("src") for tag, attributes in elements if tag == "img"]
    assert sources
    assert all(source and source.startswith("data:image/") for source in sources)
    assert not [attributes for _, attributes in elements if "onerror" in attributes or "srcset" in attributes]
    assert not [tag for tag, _ in elements if tag in ("link", "iframe", "object")]
    assert len(run.page) < 3e6


def test_every_picture_says_what_it_shows(run: Run) -> None:
    alts = [attributes["alt"] for tag, attributes in Parsed(run.page).elements if tag == "img"]
    assert all(alts)
    curve = next(alt for alt in alts if alt and alt.startswith("Learning curves of csft"))
    assert "loss from 3 to 1.5" in curve
    [of_pretrain] = [alt for alt in alts if alt and alt.startswith("Learning curves of pretrain")]
    assert of_pretrain.endswith("pretrain, image_text: accuracy in training, image_to_text_accuracy from 0.25 to 0.5")


def test_stages_tell_their_time(run: Run) -> None:
    assert '<th scope="row">csft</th><td>finished</td><td>1 min 15 s</td>' in run.page
    assert f'<th scope="row">items</th><td>{ITEMS}</td>' in run.page


@pytest.mark.slow
def test_the_same_run_is_the_same_page(run: Run) -> None:
    assert report(run.settings, run.folder, "--config run.yaml") == run.page


def test_candidates_stand_in_the_order_of_their_probabilities(run: Run) -> None:
    users = run.page.split('class="user"')[1:]
    assert len(users) == 6
    for user in users:
        shown = [float(number) for number in re.findall(r"model ([\d.]+)%", user)]
        assert shown == sorted(shown, reverse=True)
        assert len(re.findall('aria-pressed="true"', user)) == 1
        first, *others = re.findall(r'data-weights="(.*?)"', user)
        assert re.findall(r'class="weight[^"]*"[^>]*>(-?[\d.]+)<', user) == first.split(",")
        assert len({len(weights.split(",")) for weights in (first, *others)}) == 1


@pytest.mark.slow
def test_several_seeds_have_intervals_over_them(tmp_path: Path) -> None:
    settings = make_run(tmp_path, seeds=2)
    page = report(settings, tmp_path, "")
    assert "Over 2 seeds (Student&#x27;s t)" in page
    assert "Intervals of 95% are over the 2 seeds" in page
    seeds = {
        name: [Scored.load(predictions_path(tmp_path, name, seed)) for seed in range(2)] for name in ("model", "base")
    }
    aucs = {name: [roc_auc_score(one.labels, one.probabilities) for one in of] for name, of in seeds.items()}
    gains = np.subtract(aucs["model"], aucs["base"])
    # Student's t for one degree of freedom is 12.706, and s / sqrt(2) half of the difference.
    half = 12.706 * abs(gains[0] - gains[1]) / 2
    gain = re.search(r'<th scope="row">AUC</th><td>.*?</td><td>.*?</td><td>([+-]0\.\d+) \((.*?) to (.*?)\)</td>', page)
    assert gain is not None
    assert [float(number) for number in gain.groups()] == pytest.approx(
        [gains.mean(), gains.mean() - half, gains.mean() + half], abs=1e-4
    )


@pytest.mark.slow
def test_a_run_without_a_base_or_pairs_says_what_is_left_out(tmp_path: Path) -> None:
    settings = make_run(tmp_path, pairs=False, base=False)
    page = text_of(report(settings, tmp_path, ""))
    assert "This run has no validation pairs: they come from data.validation_pairs" in page
    assert "The run has no base (rank.base: false), so there is nothing to have gained over." in page
    assert "so it is not known where the model would be the worse one" in page
    assert re.findall(r"model [\d.]+%", page)
    assert not re.findall(r"base [\d.]+%", page)


@pytest.mark.slow
def test_ids_may_be_text(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, text_ids=True), tmp_path, "")
    assert len(page.split('class="user"')) == 7
    assert "not in the catalogue" not in page
    assert EVIL + "ü" in text_of(page)


def test_a_run_that_is_not_finished_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "rank")
    page = report(run.settings, tmp_path, "--config 'a b.yaml' --workdir w")
    assert headings(page) == [
        "The run",
        "Learning curves",
        "Nearest neighbours of some items",
        "What query photos find",
    ]
    assert "python -m mim_tf.train --stage all --config 'a b.yaml' --workdir w" in text_of(page)
    assert "Not finished: rank." in text_of(page)
    shutil.rmtree(tmp_path / "represent")
    assert headings(report(run.settings, tmp_path, "")) == ["The run", "Learning curves"]


@pytest.mark.slow
def test_the_command_writes_the_page_where_it_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    config = str(run.folder / "rank" / "settings.yaml")
    command = [sys.executable, "-m", "mim_tf.report", "--config", config, "--workdir", str(run.folder)]
    ran = subprocess.run([*command, "--to", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
    assert path.read_text(encoding="utf-8") == run.page
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_a_run_that_has_not_begun_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"prepare is not finished\. Run first: python -m mim_tf\.prepare --config c"):
        report(run.settings, tmp_path, "--config c")


def test_other_settings_are_refused(run: Run) -> None:
    other = run.settings.model_copy(update={"rank": run.settings.rank.model_copy(update={"ubm": "din"})})
    with pytest.raises(StageError, match=r"rank\.ubm was 'sim', now 'din'"):
        report(other, run.folder, "")
