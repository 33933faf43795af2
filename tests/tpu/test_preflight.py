"""The preflight of an experiment: batch sizes, reports, slices; and one real one."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

from tpuseg.configs import experiments
from tpuseg.tpu import compiler, hlo, lowering, preflight, program, report, topology

V3 = topology.parse("v3-8")
_OPERATIONS = (
    hlo.Operation("fusion.1", "fusion", "model/conv/Conv2D", 0.94e6, "compiler", 1000, 1),
    hlo.Operation("sort.2", "sort", "nms/TopKV2", 0.376e6, "bytes", 2000, 4, "loop.3"),
    hlo.Operation("all-reduce.4", "all-reduce", "XlaAllReduce", 0.564e6, "wires", 3000, 1),
)
_LOOPS = (hlo.Loop("loop.3", "nms/while", 4, "bound"),)


def made_check(batch=4, fits=True, peak=2_000_000_000):
    memory = compiler.Memory(1_000_000_000, 900_000_000, 900_000_000, 900_000_000, 100_000_000, peak, V3.program_memory_bytes)
    estimate = hlo.Estimate(_OPERATIONS, _LOOPS) if fits else hlo.Estimate((), ())
    compiled = compiler.Compiled(V3, "libtpu", 1.0, fits, memory, 6.15e10, estimate, "" if fits else "Used too much hbm")
    return preflight.Check("made", "train", V3, batch, steps=3600, num_parameters=7, compiled=compiled)


def test_numbers_follow_from_the_cycles():
    found = report.as_json(made_check(), price_per_chip_hour=3.0)
    # 1.88 M cycles at 940 MHz are 2 ms; 32 images; 3600 steps are 7.2 s; four chips.
    assert found["estimated_step_seconds"] == pytest.approx(2e-3)
    assert found["images_per_second"] == pytest.approx(16000)
    assert found["hours"] == pytest.approx(0.002) and found["cost"] == pytest.approx(0.024)
    assert found["peak_flops_share"] == pytest.approx(6.15e10 / 2e-3 / 61.5e12)
    assert found["counted_by"] == {"compiler": 0.94e6, "bytes": 0.376e6, "wires": 0.564e6}
    assert found["layers"][0] == {"name": "model/conv", "cycles": 0.94e6, "pass": "forward"}
    assert [row["opcode"] for row in found["not_estimated"]] == ["sort"]
    needed = "tpu_type fits hbm_bytes hbm_capacity_bytes flops estimated_cycles compiler unsupported_ops"
    assert set(needed.split()) <= set(found) and json.dumps(found)


def test_text_says_what_is_an_assumption():
    text = report.as_text(made_check(), top=5, price_per_chip_hour=3.0)
    for part in ("2.00 GB of the 16.62 GB", "16000 images/s", "model/conv", "nms/TopKV2", "counted 4 times", report.NOTE):
        assert part in text, part


def test_loops_that_are_counted_alike_share_a_line():
    check = made_check()
    more = (*_LOOPS, hlo.Loop("loop.4", "nms/while_1", 4, "bound"), hlo.Loop("loop.5", "sure", 9, "condition"))
    estimate = dataclasses.replace(check.compiled.estimate, loops=more)
    check = dataclasses.replace(check, compiled=dataclasses.replace(check.compiled, estimate=estimate))
    lines = [line for line in report.as_text(check, top=5).splitlines() if "rounds" in line]
    assert len(lines) == 1
    assert lines[0].endswith("4 times each, the most that there can be (0.38 M cycles in all): nms/while and 1 more")


def test_what_does_not_fit_says_by_how_much():
    check = made_check(fits=False, peak=V3.program_memory_bytes + 2_500_000_000)
    text = report.as_text(dataclasses.replace(check, largest_batch_size=3, too_large_batch_size=4), top=5)
    assert "DOES NOT FIT" in text and "2.50 GB too much" in text and "3 a replica, 24 in all; 4 a replica do not fit" in text
    found = report.as_json(check)
    assert found["fits"] is False and found["estimated_step_seconds"] is None and found["layers"] == []


def test_unsupported_operations_are_listed_with_their_lines():
    op = lowering.UnsupportedOp("Unique", "model/Unique", "model.py:7")
    check = dataclasses.replace(made_check(), compiled=None, unsupported=(op,))
    assert "Unique `model/Unique`, made at model.py:7" in report.as_text(check, top=5)
    assert report.as_json(check)["unsupported_ops"] == [{"op": "Unique", "name": "model/Unique", "source": "model.py:7"}]


@pytest.mark.parametrize(("largest", "start"), [(11, 4), (3, 8), (0, 2), (4, 4), (40, 1), (44, 64), (64, 8)])
def test_the_largest_batch_is_found_with_few_compilations(largest, start):
    asked = []

    def try_size(size):
        asked.append(size)
        # Growing faster than the batch, until the compiler squeezes it; just above the limit where that is not enough.
        needed = V3.program_memory_bytes * min((size / (0.8 * largest + 0.5)) ** 1.2, 0.999)
        return made_check(size, size <= largest, int(needed if size <= largest else 1.02 * V3.program_memory_bytes))

    fits, fails = preflight.find_batch_size(try_size(start), try_size, most=64)
    assert fits <= largest and (fails is None or largest < fails)
    assert (fails or 65) - fits <= max(1, largest // 16)
    assert len(asked) <= 8 and len(set(asked)) == len(asked)


def test_larger_slices_only_differ_in_their_sums(monkeypatch):
    monkeypatch.setattr(preflight.hlo, "estimate", lambda text, tpu, trips: hlo.Estimate(_OPERATIONS[:2], ()))
    first, larger = made_check(), topology.parse("v3-32")
    (found,) = preflight.on_larger_slices(first, [larger])
    assert found.global_batch_size == 128 and found.steps == 900 and found.replica_batch_size == 4
    table = report.scaling_table([first, found])
    assert "| v3-32 | 128 |" in table and "| 142.9 % |" in table
    with pytest.raises(ValueError, match="v5e-8"):
        preflight.on_larger_slices(first, [topology.parse("v5e-8")])


def test_a_batch_that_cannot_be_shared_is_answered_with_one_that_can():
    experiment = experiments.load("deeplab_shapes", params_override="task.train_data.global_batch_size=12").config
    with pytest.raises(ValueError, match="global_batch_size=16"):
        program.replica_batch_size(experiment, V3, "train")
    assert program.replica_batch_size(experiments.load("maskrcnn_coco").config, V3, "train") == 8


def test_wrong_flags_are_one_line(repository):
    script = [sys.executable, str(repository / "official" / "preflight.py")]
    for arguments, expected in (
        (["--experiment=deeplab_shapes"], "--tpu_type"),
        (["--experiment=deeplab_shapes", "--tpu_type=v3-9"], "the types of v3 are v3-8"),
        (["--experiment=deeplab_shapes", "--tpu_type=v3-8,v5e-8", "--scaling"], "one kind of TPU, not v3-8 and v5e-8"),
    ):
        run = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert run.returncode == 1 and expected in run.stderr and "Traceback" not in run.stderr, run.stderr


@pytest.mark.usefixtures("benchmarks_on_path")
def test_the_documents_places_are_those_of_the_reports(repository):
    import tpu_reports

    text = pathlib.Path(repository / "docs" / "tpu" / "reports.md").read_text()
    for name in tpu_reports.REPORTS:
        once = tpu_reports.put(text, name, "what came out")
        assert "what came out" in once and tpu_reports.put(once, name, "x").count("<!-- end -->") == text.count("<!-- end -->")
    with pytest.raises(ValueError, match="no place"):
        tpu_reports.put("", "maskrcnn_coco/train/v2-8", "")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["deeplab_shapes", "maskrcnn_shapes"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_both_steps_of_both_models_compile_for_a_tpu(experiment, mode):
    found = preflight.check(experiments.load(experiment), V3, mode)
    assert found.fits and found.compiled.flops > 0 and found.step_seconds > 0
    names = {row["name"] for row in report.as_json(found)["layers"]}
    assert any("mobilenet" in name for name in names)
    assert ("sums over replicas" in names) == (mode == "train")
