"""Two real processes on loopback that TF_CONFIG makes one run: what one process does, and what happens when one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf
import tiny_backbone

pytestmark = pytest.mark.slow

# The batch's statistics over all workers, or none: then the losses are those of the whole batch in one process.
MODELS = {
    "deeplab_shapes": (
        "task.model.input_size=[64,64],task.evaluation.input_size=[128,160],task.model.aspp.dropout_rate=0.0,"
        "task.model.norm.mode=synchronized"
    ),
    "maskrcnn_shapes": (
        "task.model.backbone.mobilenet_v2.width_multiplier=0.35,task.model.fpn.num_filters=16,task.model.box_head.dense_units=32,"
        "task.model.mask_head.num_filters=16,task.model.norm.mode=frozen"
    ),
}
# A buffer of one does not shuffle. With this seed the first pass reads the two files in their order, which is how two workers,
# one file each, number the examples too: the same images with the same random augmentation in each global batch.
COMMON = (
    "task.train_data.global_batch_size=4,task.validation_data.global_batch_size=4,task.train_data.shuffle_buffer_size=1,"
    "task.train_data.cache=false,trainer.summary_interval=1,trainer.validation_interval=4,trainer.checkpoint_interval=2,"
    "trainer.optimizer_config.warmup.linear.warmup_steps=2"
)
SECONDS_TO_NOTICE = 120


def _seed_that_keeps_the_order():
    def keeps(seed):
        order = tf.random.experimental.stateless_shuffle([0, 1], tf.constant([seed * 1_000_003, 0], tf.int64))
        return order.numpy().tolist() == [0, 1]

    return next(seed for seed in range(100) if keeps(seed))


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def start(repository, shapes_dir, tmp_path):
    """Starts a run of as many processes as asked for; ends what is left of it."""
    started = []

    def start_run(experiment, model_dir, num_workers, steps, more=""):
        ports = _free_ports(num_workers)
        override = f"{MODELS[experiment]},{COMMON},trainer.train_steps={steps}{more}"
        override += f",task.train_data.seed={_seed_that_keeps_the_order()}"
        command = [sys.executable, "official/train.py", f"--experiment={experiment}", f"--data_dir={shapes_dir}"]
        command += [f"--model_dir={model_dir}", f"--params_override={override}", "--import_module=examples.tiny_backbone"]
        workers = []
        for index in range(num_workers):
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            if num_workers > 1:
                cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
                environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            log = open(tmp_path / f"{model_dir.name}-{index}-{len(started)}.log", "w+")  # noqa: SIM115 - read after the process.
            process = subprocess.Popen(command, cwd=repository, env=environment, stdout=log, stderr=subprocess.STDOUT)
            workers.append((process, log))
        started.extend(workers)
        return workers

    yield start_run
    for process, log in started:
        process.kill()
        process.wait()
        log.close()


def _finish(workers, timeout=600):
    """Waits for the processes; returns exit codes and outputs."""
    codes = [process.wait(timeout) for process, _ in workers]
    outputs = []
    for _, log in workers:
        log.seek(0)
        outputs.append(log.read())
    return codes, outputs


def _losses(model_dir):
    """Returns losses and learning rate of every step, as they were written for TensorBoard."""
    found = {}
    for path in sorted((model_dir / "train").glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.tag != "steps_per_second":
                    found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.mark.parametrize("experiment", sorted(MODELS))
def test_two_workers_do_what_one_process_does(experiment, start, tmp_path):
    for name, count in (("one", 1), ("two", 2)):
        codes, outputs = _finish(start(experiment, tmp_path / name, count, steps=4))
        assert codes == [0] * count, "\n".join(outputs)
    one, two = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    assert one.keys() == two.keys() and {step for step, _ in one} == {1, 2, 3, 4}
    for key, value in one.items():
        assert two[key] == pytest.approx(value, rel=2e-3, abs=1e-4), key
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert first["num_images"] == second["num_images"] == 10
    # One of them writes.
    assert len(list((tmp_path / "two").glob("ckpt-*.index"))) == 2


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_a_restart_goes_on(killed, start, tmp_path):
    folder = tmp_path / "run"
    tiny = f",{tiny_backbone.OVERRIDE}"
    workers = start("deeplab_shapes", folder, 2, 2000, tiny)
    deadline = time.monotonic() + 600
    while not (folder / "ckpt-4.index").exists():
        assert time.monotonic() < deadline and all(process.poll() is None for process, _ in workers), _finish(workers, 1)
        time.sleep(0.2)
    workers[killed][0].send_signal(signal.SIGKILL)
    left = workers[1 - killed]
    assert left[0].wait(SECONDS_TO_NOTICE) != 0
    _, (output,) = _finish([left])
    assert "error: another worker of TF_CONFIG's cluster stopped" in output and "start every worker again" in output, output
    last = int(tf.train.latest_checkpoint(str(folder)).rpartition("-")[2])
    codes, outputs = _finish(start("deeplab_shapes", folder, 2, last + 2, tiny))
    assert codes == [0, 0], "\n".join(outputs)
    assert all(f"resuming from {folder}/ckpt-{last}" in output for output in outputs)
    assert json.loads((folder / "metrics.json").read_text())["step"] == last + 2
