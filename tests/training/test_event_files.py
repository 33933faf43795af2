"""What TensorBoard shows of a run: one run for each split, with the metrics of classes in groups."""

import types

import orbit
import tensorflow as tf

from tpuseg.training import event_files


def tags(folder):
    """Returns the values of all event files below a folder, by (directory, tag)."""
    found = {}
    for path in folder.rglob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[str(path.parent.relative_to(folder)), value.tag] = float(tf.make_ndarray(value.tensor))
    return found


def test_nested_metrics_are_tags_of_one_run(tmp_path):
    step = tf.Variable(7, dtype=tf.int64)
    manager = orbit.utils.SummaryManager(str(tmp_path / "validation"), tf.summary.scalar, global_step=step)
    controller = types.SimpleNamespace(eval_summary_manager=manager)
    event_files.tolerate_failures(controller)
    logs = {"loss": 0.5, "bbox": {"AP": 0.25}, "per_class": {"a cat": {"bbox": 0.125, "segm": 0.75}}}
    controller.eval_summary_manager.write_summaries(logs)
    controller.eval_summary_manager.flush()
    assert tags(tmp_path) == {
        ("validation", "loss"): 0.5,
        ("validation", "bbox/AP"): 0.25,
        ("validation", "per_class/a cat/bbox"): 0.125,
        ("validation", "per_class/a cat/segm"): 0.75,
    }
