import doctest
import importlib
import json
import pkgutil

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import mim_tf.metrics
from mim_tf.metrics import ranking_metrics


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 200).astype(np.float32), rng.uniform(size=200)
    users = np.repeat([b"ann", b"bob"], [50, 150])
    first, second = (roc_auc_score(labels[rows], probabilities[rows]) for rows in (users == b"ann", users == b"bob"))
    metrics = ranking_metrics(labels, probabilities, users)
    assert metrics == {
        "auc": pytest.approx(roc_auc_score(labels, probabilities)),
        "grouped_auc": pytest.approx(0.25 * first + 0.75 * second),
        "grouped_auc_users": 2,
        "grouped_auc_impressions": 200,
        "log_loss": pytest.approx(log_loss(labels, probabilities)),
        # Twenty bins of ten: no two probabilities are the same.
        "calibration_error": pytest.approx(
            np.abs((probabilities - labels)[np.argsort(probabilities)].reshape(20, 10).mean(axis=1)).mean()
        ),
        "predicted_over_observed": pytest.approx(probabilities.mean() / labels.mean()),
        "impressions": 200,
    }
    assert json.loads(json.dumps(metrics)) == metrics


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`probabilities` must be in \[0, 1\]"):
        ranking_metrics([0, 1], [0.5, 7.0], [1, 1])
    with pytest.raises(ValueError, match="`labels` must hold both 0 and 1"):
        ranking_metrics([1, 1], [0.5, 0.7], [1, 1])


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(mim_tf.metrics.__path__)])
def test_the_examples_in_the_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"mim_tf.metrics.{module}")).failed == 0
