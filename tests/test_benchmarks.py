"""The parts of the benchmarks that need no other library still fit the package."""

import pathlib
import subprocess
import sys

import pytest

from tpuseg.data import instance_records, records

_FOLDER = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"
_SCRIPTS = (
    "blob_images.py",
    "evaluation.py",
    "inference.py",
    "input_pipeline.py",
    "label_errors.py",
    "plan_quality.py",
    "plan_time.py",
    "report_page.py",
    "tpu_kernels.py",
    "tpu_reports.py",
    "tpu_step.py",
    "train_step.py",
)


pytestmark = pytest.mark.usefixtures("benchmarks_on_path")


def test_generated_objects_are_whole_records(tmp_path):
    import noise_images

    pattern = noise_images.write_objects(str(tmp_path), (96, 128), number=3, num_objects=4, num_classes=5)
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


def compiled(cycles, temporaries):
    from tpuseg.tpu import compiler, hlo, topology

    def operation(op_name, part, counted_by):
        return hlo.Operation("fusion", "fusion", op_name, part * cycles, counted_by, moved_bytes=0, trips=1)

    operations = (operation("net/conv/Conv2D", 0.75, "compiler"), operation("gradient_tape/net/conv/Conv2D", 0.25, "bytes"))
    memory = compiler.Memory(arguments=1 << 30, outputs=0, aliased=0, temporaries=temporaries, code=0, peak=0, capacity=1 << 34)
    estimate = hlo.Estimate(operations, ())
    return compiler.Compiled(topology.parse("v3-8"), "a compiler", 1.0, True, memory, 1e12, estimate)


def test_a_step_on_a_tpu_is_compared_in_cycles_and_memory():
    import tpu_step

    theirs = tpu_step.figures("model_garden", compiled(400e6, 7 << 30))
    ours = tpu_step.figures("tpuseg", compiled(100e6, 1 << 30))
    assert ours["hbm_bytes"] == 2 << 30 and ours["cycles_by_bytes"] == 25e6
    # 940 MHz.
    assert ours["estimated_step_seconds"] == pytest.approx(100 / 940)
    assert ours["directions"] == {"forward": 75e6, "backward": 25e6}
    assert [layer["cycles"] for layer in ours["layers"]] == [75e6, 25e6]
    assert "0.250 of its cycles, 0.25 of its memory" in tpu_step._line(ours, theirs)


@pytest.mark.parametrize("script", _SCRIPTS)
def test_help_is_shown(script):
    run = subprocess.run([sys.executable, str(_FOLDER / script), "--helpshort"], capture_output=True, text=True, check=False)
    assert "flags:" in run.stdout, run.stderr


def test_the_cores_that_a_host_needs_follow_from_the_step():
    import input_pipeline

    check = {"experiment": "made", "tpu_type": "v3-32", "images_per_second": 800.0, "num_hosts": 4, "host_cores": 96}
    assert input_pipeline.needed(check, per_core=50.0) == "  made on a v3-32: 200 images/s for each host, 4.0 cores of its 96"


def test_layers_add_up_to_parts():
    import tpu_step

    names = {"net/backbone/conv1": 3.0, "net/head": 1.0, "net/backbone/conv2": 4.0, "SGD": 2.0}
    parts = tpu_step.by_part([{"name": name, "cycles": cycles} for name, cycles in names.items()])
    assert list(parts.items()) == [("net/backbone", 7.0), ("SGD", 2.0), ("net/head", 1.0)]
