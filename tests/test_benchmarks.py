"""The parts of the benchmarks that need no other library still fit the package."""

import pathlib
import subprocess
import sys

import pytest
from absl import flags

from tpuseg import instance_records, records

_FOLDER = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"
_SCRIPTS = ("evaluation.py", "inference.py", "input_pipeline.py", "train_step.py")


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    """Modules of benchmarks can be imported; their flags, which binaries have too, do not outlive a test."""
    monkeypatch.syspath_prepend(str(_FOLDER))
    before = set(flags.FLAGS)
    yield
    flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])


def test_generated_objects_are_whole_records(tmp_path):
    import pictures

    pattern = pictures.write_objects(str(tmp_path), (96, 128), number=3, num_objects=4, num_classes=5)
    raw = [record for path in sorted(tmp_path.glob("*.tfrecord")) for record in records.read_raw(str(path))]
    assert len(raw) == 3 and str(tmp_path) in pattern
    for record in raw:
        _, faults = instance_records.inspect_instances(record, num_classes=5)
        assert not faults and len(instance_records.read_instances(record).instances) == 4


def test_our_evaluation_counts_what_was_generated(tmp_path):
    import evaluation

    settings = evaluation.Settings(num_pictures=2, num_detections=10, num_objects=3, size=(64, 80), seed=0)
    path = str(tmp_path / "truth.json")
    evaluation.write_truth(settings, path)
    *_, numbers = evaluation.ours(settings, path)
    assert len(numbers) == 24 and 0 < numbers[0] <= 1
    # Without any detection there is an AP, and it is zero.
    assert evaluation._ours_of([], path)[0] == 0


@pytest.mark.parametrize("script", _SCRIPTS)
def test_help_is_shown(script):
    run = subprocess.run([sys.executable, str(_FOLDER / script), "--helpshort"], capture_output=True, text=True, check=False)
    assert "flags:" in run.stdout, run.stderr
