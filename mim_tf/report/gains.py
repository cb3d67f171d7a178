"""The sections of gains by the items' age and category, and of calibration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from mim_tf.figures.calibration import calibration_figure
from mim_tf.figures.group_gains import group_gains_figure
from mim_tf.metrics import age_groups, calibration_curve, calibration_error, predicted_over_observed
from mim_tf.pages.figure_image import figure_image
from mim_tf.pages.markup import Html, element, paragraph, table
from mim_tf.pages.section import Section
from mim_tf.report.numbers import age_text, interval_text
from mim_tf.report.predictions import ComparedGroup, Predictions, compared_groups, kind_of_interval

_AGE_GROUPS = 10  # S1 to S10, of the paper's Figure 6
_CATEGORIES = 10  # the largest ones are drawn

Groups = dict[str, ComparedGroup]


def groups_by_age(predictions: Predictions) -> Groups:
    """The gain in each of ten groups by the items' age, S1 the newest."""
    ages = predictions.impressions.ages
    groups = age_groups(ages, _AGE_GROUPS)
    compared = compared_groups(predictions, groups)
    return {_age_name(number, ages[groups == number]): group for number, group in compared.items()}


def _age_name(number: Hashable, ages: np.ndarray) -> str:
    return f"S{number}, {age_text(ages.min())} to {age_text(ages.max())}"


def groups_by_category(predictions: Predictions) -> Groups:
    """The gain in each category of items, the largest one first."""
    compared = compared_groups(predictions, predictions.impressions.categories)
    largest_first = sorted(compared.items(), key=lambda group: -group[1].impressions)
    return {_category_name(name): group for name, group in largest_first}


def _category_name(name: Hashable) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def gains_section(predictions: Predictions, by_age: Groups, by_category: Groups) -> Section:
    """AUC of model and base in groups of impressions, drawn and as tables."""
    if not predictions.base:
        note = "The run has no base (rank.base: false), so there is nothing to have gained over."
        return Section("gains", "Gains by age and category", [paragraph(note)])
    content = [paragraph(f"AUC of the model minus that of the base. {kind_of_interval(predictions)}.")]
    ages = {name.split(",")[0]: group for name, group in by_age.items()}
    largest = dict(list(by_category.items())[:_CATEGORIES])
    for title, drawn, groups in (
        ("By the item's age, S1 newest", ages, by_age),
        (
            "By category" if len(largest) == len(by_category) else f"By category, the {len(largest)} largest drawn",
            largest,
            by_category,
        ),
    ):
        content.append(element("h3", title))
        content += _figure_and_table(title, drawn, groups)
    return Section("gains", "Gains by age and category", content)


def _figure_and_table(title: str, drawn: Groups, groups: Groups) -> list[Html]:
    if not groups:
        return [paragraph("No group has a hundred impressions, and clicks of enough users, to measure a gain.")]
    figure = group_gains_figure({name: group.gain for name, group in drawn.items()})
    said = "; ".join(f"{name} {interval_text(group.gain, '+')}" for name, group in drawn.items())
    return [figure_image(figure, f"Gain in AUC. {title}: {said}"), group_table("group", groups)]


def group_table(heading: str, groups: Mapping[str, ComparedGroup]) -> Html:
    """A row per group; those whose interval lies below 0 are marked."""
    rows = [
        [
            name,
            interval_text(group.gain, "+"),
            f"{group.auc:.4f}",
            f"{group.base_auc:.4f}",
            f"{group.impressions:,}",
            f"{group.click_rate:.1%}",
        ]
        for name, group in groups.items()
    ]
    marked = [group.gain.upper < 0 for group in groups.values()]
    return table([heading, "gain", "AUC", "base", "impressions", "click rate"], rows, marked=marked)


def calibration_section(predictions: Predictions) -> Section:
    """Predicted against observed click rates of the first seed's models."""
    firsts = {name: seeds[0] for name, seeds in predictions._asdict().items() if seeds}
    curves = {name: calibration_curve(scored.labels, scored.probabilities) for name, scored in firsts.items()}
    measured = {
        name: (
            calibration_error(scored.labels, scored.probabilities),
            predicted_over_observed(scored.labels, scored.probabilities),
        )
        for name, scored in firsts.items()
    }
    said = "; ".join(f"{name}: error {error:.4f}, {ratio:.3f} times" for name, (error, ratio) in measured.items())
    rows = [[name, f"{error:.4f}", f"{ratio:.3f}"] for name, (error, ratio) in measured.items()]
    words = (
        "Impressions in bins of equally many, by what was predicted: a model is calibrated where its points lie on the "
        "diagonal. Whiskers are 95% intervals that take impressions for independent. Of the first seed."
    )
    content = [
        paragraph(words),
        figure_image(calibration_figure(curves), f"Calibration curves. Predicted over observed click rate: {said}"),
        table(["", "calibration error", "predicted over observed"], rows),
    ]
    return Section("calibration", "Calibration", content)
