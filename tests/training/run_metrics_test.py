"""What a training has shown comes back from its file as it was."""

from pathlib import Path

from mim_tf.training.run_metrics import RunMetrics


def test_they_come_back_and_say_what_they_are_of(tmp_path: Path) -> None:
    metrics = RunMetrics({"loss": 0.1 + 0.2}, {"mrr": 0.25}, {"mrr": 0.5})
    metrics.save(tmp_path)
    again = RunMetrics.load(tmp_path)
    assert again == metrics
    assert again.together() == {"loss": 0.1 + 0.2, "start_mrr": 0.25, "held_out_mrr": 0.5}
