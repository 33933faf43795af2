"""Kills a training run at random times, restarts it each time, and compares it with an uninterrupted run.

python benchmarks/kill_and_resume.py --kills=20
python benchmarks/kill_and_resume.py --kills=70 --faults=130

A small `deeplab_shapes` on a few generated images runs once without interruption. Then the same command runs in another model
directory and receives SIGKILL while it starts, trains, saves or evaluates, in a random order and at random times. After every kill,
the newest checkpoint must be intact and at most one checkpoint interval old, no other file may be incomplete under its final name,
and the next start must continue from the newest checkpoint. At the end, metrics, weights and images must be equal to those of the
uninterrupted run, bit by bit. The exit code is 1 if any of these conditions is violated.

With --faults, other faults happen between the kills: the newest checkpoint or a small file is damaged, the disk is full when a
checkpoint is saved (this needs root, for a small file system in memory), the same command is started twice, and converter, export
and prediction are killed. At most the damaged checkpoint may be lost, which is one checkpoint interval.
"""

import dataclasses
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import faults as injected
from absl import app, flags

_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path.insert(0, os.path.join(_ROOT, "official"))

_KILLS = flags.DEFINE_integer("kills", 20, "Number of kills.", lower_bound=1)
_FAULTS = flags.DEFINE_integer("faults", 0, "Number of other faults.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order and the times of the kills.")
_WORK_DIR = flags.DEFINE_string("work_dir", "", "Folder of data, both model directories and logs; a temporary folder by default.")
_PARAMS_OVERRIDE = flags.DEFINE_string("params_override", "", "key.key=value,key.key=value: changes of the small run's settings.")

_CHECKPOINT_INTERVAL = 2
_VALIDATION_INTERVAL = 4
_KINDS = ("starting", "training", "saving", "evaluating")
# The kinds of faults, which --faults repeats in this order before shuffling.
_FAULT_KINDS = (
    *("damage", "full disk", "damage", "converter", "damage", "second run", "damage"),
    *("export", "damage", "full disk", "damage", "converter", "predict"),
)
_DISK_MEGABYTES = 256
# Maximum seconds of a run, much longer than a run takes, so that a run that hangs is a failure.
_PATIENCE = 600.0
_STEP = re.compile(r"step (\d+)/\d+ \| ")
_RESUMING = re.compile(r"resuming from \S*ckpt-(\d+)$")
# Temporary names that a kill may leave; they differ from the names of complete files.
_LEFT_OVER = re.compile(r"\.tmp(\d|$)|_temp(/|$)|\.tempstate")
# TensorFlow's metadata: the number of saves of this process and earlier ones, and the names of the variables.
_NOT_WEIGHTS = ("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")


class Process:
    """A running program and its output so far."""

    def __init__(self, command, log):
        self.lines = []  # Pairs of seconds since the start and text.
        self._started, self.lived = time.monotonic(), 0.0
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment())
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log):
        with open(log, "a") as file:
            for line in self._child.stdout:
                self.lines.append((time.monotonic() - self._started, line.rstrip()))
                file.write(line)

    @property
    def pid(self):
        """The process id."""
        return self._child.pid

    def signal(self, number):
        """Sends a signal to the process."""
        self._child.send_signal(number)

    @property
    def is_running(self):
        """Whether the process is still running."""
        return self._child.poll() is None

    @property
    def seconds(self):
        """Seconds since the process was started."""
        return time.monotonic() - self._started

    def has_said(self, text):
        """Returns whether a line of the output begins with a text."""
        return any(line.startswith(text) for _, line in list(self.lines))

    def wait_until(self, event):
        """Waits until `event()` is true; returns False if the process ended before that."""
        while not event():
            if not self.is_running or self.seconds > _PATIENCE:
                return event()
            time.sleep(0.001)
        return True

    def kill(self):
        """Sends SIGKILL; returns False if the process had already ended."""
        was_running = self.is_running
        self.lived = self.seconds
        self._child.send_signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL and was_running

    def wait(self):
        """Waits until the process ends, and returns the exit code."""
        code = self._child.wait(_PATIENCE)
        self._reader.join()
        return code

    def last_step(self, start):
        """Returns the last step that was completed according to the output; `start` is the step at which the run started."""
        steps = [int(match[1]) for _, line in self.lines if (match := _STEP.match(line))]
        return max([start + self.has_said("first step done"), *steps])


def _environment():
    return {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclasses.dataclass
class Durations:
    """Seconds that the uninterrupted run needed for the first occurrence of each activity that is interrupted."""

    starting: float
    training: float
    saving: float
    evaluating: float


def measure(process):
    """Computes the durations from the times at which an uninterrupted run printed the lines about its steps."""
    times = {int(match[1]): seconds for seconds, line in process.lines if (match := _STEP.match(line))}
    # A killed run does each of these only once, so the first occurrence is used, in which TensorFlow also traces its functions.
    step = times[_VALIDATION_INTERVAL] - times[_VALIDATION_INTERVAL - 1]
    saving = times[_CHECKPOINT_INTERVAL + 1] - times[_CHECKPOINT_INTERVAL] - step
    evaluating = times[_VALIDATION_INTERVAL + 1] - times[_VALIDATION_INTERVAL] - step
    starting = next(seconds for seconds, line in process.lines if line.startswith("first step done"))
    return Durations(starting, _CHECKPOINT_INTERVAL * step, max(saving, 0.01), max(evaluating, 0.01))


class ModelDir:
    """The contents of a model directory."""

    def __init__(self, path):
        self.path = path

    def checkpoints(self):
        """Returns the intact checkpoints; the newest is the last one."""
        return [path for path in injected.checkpoints(self.path) if not _try(lambda path=path: weights(path))]

    def newest_step(self):
        """Returns the step of the newest intact checkpoint; 0 if there is none."""
        paths = self.checkpoints()
        return int(paths[-1].rpartition("-")[2]) if paths else 0

    def last_write(self, step):
        """Returns the time of the last change of a checkpoint's files and folders, in nanoseconds; 0 if there are none."""
        own = re.compile(rf"ckpt-{step}\D")
        times = [_changed(os.path.join(self.path, name)) for name in _listed(self.path) if own.match(name)]
        return max(times, default=0)

    def names(self):
        """Returns all files and folders as paths relative to the model directory."""
        found = []
        for folder, folders, files in os.walk(self.path):
            found += [os.path.relpath(os.path.join(folder, name), self.path) for name in folders + files]
        return sorted(found)

    def left_over(self):
        """Returns the incomplete files of killed processes, which have temporary names."""
        return [name for name in self.names() if _LEFT_OVER.search(name) and os.path.isfile(os.path.join(self.path, name))]

    def evaluated_steps(self):
        """Returns the steps whose metrics were written."""
        path = os.path.join(self.path, "metrics.jsonl")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [json.loads(line)["step"] for line in file if line.endswith("}\n")]

    def faults(self, damaged=()):
        """Returns a sentence about every incomplete file with a final name, except for the files in `damaged`."""
        found = [f"{name}: {fault}" for name in self.names() if name not in damaged and (fault := self._fault(name))]
        for folder in (self.path, os.path.join(self.path, "best_checkpoint")):
            newest = [path for path in injected.checkpoints(folder) if os.path.basename(path) not in damaged][-1:]
            found += [f"{path}: {fault}" for path in newest if (fault := _try(lambda path=path: weights(path)))]
        return found

    def _fault(self, name):
        if name.startswith("config-until-step-"):
            return ""  # A copy of an earlier file, which may have been damaged.
        path = os.path.join(self.path, name)
        reader = _READERS.get(os.path.splitext(name)[1])
        return _try(lambda: reader(path)) if reader and not _LEFT_OVER.search(name) else ""


def _try(read):
    try:
        read()
    except Exception as error:  # Readers raise errors of many classes for incomplete files.
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"
    return ""


def _read_image(path):
    import PIL.Image

    with PIL.Image.open(path) as image:
        image.load()


def _read_json(path):
    with open(path) as file:
        return json.load(file)


def _read_json_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def _read_config(path):
    from tpuseg.configs import experiments

    return experiments.load(path)


_READERS = {".png": _read_image, ".json": _read_json, ".jsonl": _read_json_lines, ".yaml": _read_config}


def weights(checkpoint):
    """Returns the weights of a checkpoint; all of its bytes are read and verified."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoint)
    # The other values are read too, because a checkpoint with a damaged object graph cannot be restored.
    values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    return {key: value for key, value in values.items() if not key.startswith(_NOT_WEIGHTS)}


@dataclasses.dataclass
class Kill:
    """One kill and the state after it.

    Attributes:
      kind: activity of the run that was interrupted.
      start: step of the checkpoint from which the run had started.
      seconds: seconds from the start of the run to the kill.
      reached: last completed step.
      saved: step of the newest checkpoint after the kill.
      left_over: incomplete files with temporary names.
      faults: sentences about violated conditions.
    """

    kind: str
    start: int
    seconds: float
    reached: int
    saved: int
    left_over: list[str]
    faults: list[str]


class Experiment:
    """The two runs and their comparison."""

    def __init__(self, folder, num_kills, num_faults, seed):
        import numpy as np

        self._folder = folder
        self._random = np.random.default_rng(seed)
        # All kinds equally often, in a random order.
        self._kinds = self._random.permutation([_KINDS[number % len(_KINDS)] for number in range(num_kills)]).tolist()
        kinds = [_FAULT_KINDS[number % len(_FAULT_KINDS)] for number in range(num_faults)]
        self._events = self._random.permutation(["kill"] * num_kills + kinds).tolist()
        # A killed run reaches at most its next evaluation, so this number of steps is sufficient for all starts.
        num_starts = num_kills + kinds.count("full disk") + kinds.count("second run")
        self.train_steps = _VALIDATION_INTERVAL * (num_starts + 2)
        self.undisturbed = ModelDir(os.path.join(folder, "undisturbed"))
        self.disk = injected.SmallDisk(os.path.join(folder, "disk"), _DISK_MEGABYTES) if num_faults else None
        self.killed = ModelDir(os.path.join(folder, "disk" if num_faults else "", "killed"))
        self.done = []  # Faults other than kills: (kind, sentence).
        self._damaged = set()  # Names of files that are damaged until the next start.
        self.lost_rows = False  # Whether lines of metrics were damaged, which cannot be restored.
        self.kills = []
        self.faults = []
        self._program_seconds = {}

    def make_data(self):
        """Generates the images, and converts them to records."""
        from tpuseg.convert import shapes, voc

        root = os.path.join(self._folder, "data", "shapes")
        shapes.make_shapes(root, shapes.ShapesConfig(num_train=24, num_val=10))
        for split in ("train", "val"):
            voc.convert_voc(root, split, os.path.join(root, "semantic"), class_names=shapes.CLASS_NAMES, num_shards=2)

    def start(self, model_dir):
        """Starts or restarts the run; the command is always the same."""
        settings = {
            "task.model.input_size": "[64,64]",
            "task.model.aspp.dropout_rate": 0.1,
            "task.evaluation.num_pictures": 4,
            "task.train_data.global_batch_size": 4,
            "task.train_data.color_jitter": 0.2,
            "trainer.train_steps": self.train_steps,
            "trainer.summary_interval": 1,
            "trainer.checkpoint_interval": _CHECKPOINT_INTERVAL,
            "trainer.validation_interval": _VALIDATION_INTERVAL,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 4,
        }
        command = [sys.executable, os.path.join(_ROOT, "official", "train.py"), "--experiment=deeplab_shapes"]
        overrides = [f"{key}={value}" for key, value in settings.items()]
        command.append("--params_override=" + ",".join(overrides + [_PARAMS_OVERRIDE.value] * bool(_PARAMS_OVERRIDE.value)))
        command += [f"--model_dir={model_dir.path}", f"--data_dir={os.path.join(self._folder, 'data')}"]
        return Process(command, os.path.join(self._folder, f"{os.path.basename(model_dir.path)}.log"))

    def run_undisturbed(self):
        """Runs without interruption, and returns the durations."""
        process = self.start(self.undisturbed)
        if process.wait():
            raise ValueError(f"the undisturbed run failed; see {self.undisturbed.path}.log")
        return measure(process)

    def run_killed(self, durations):
        """Runs with all kills and other faults until the last step."""
        happens = {
            "damage": self._damage,
            "full disk": self._fill_the_disk,
            "second run": self._start_twice,
            "converter": lambda: self._kill_program("converter"),
            "export": lambda: self._kill_program("export"),
            "predict": lambda: self._kill_program("predict"),
        }
        for number, event in enumerate(self._events, 1):
            before = len(self.faults)
            if event == "kill":
                said = self._kill(durations)
            else:
                said = happens[event]()
                self.done.append((event, said))
            faults = "; ".join(self.faults[before:])
            print(f"{number:3} {event:10} {said}{' | FAULT: ' + faults if faults else ''}", flush=True)
        start = self.killed.newest_step()
        process = self.start(self.killed)
        if process.wait():
            self.faults.append(f"the last start failed; see {self.killed.path}.log")
        self._check_start(process, start)

    def _kill(self, durations):
        kind = self._kinds[len(self.kills)]
        start = self.killed.newest_step()
        process = self.start(self.killed)
        self._wait_for(kind, process, start)
        time.sleep(self._random.uniform(0, getattr(durations, kind)))
        if not process.kill():
            self.faults.append(f"the run ended before kill {len(self.kills) + 1} ({kind}); see the log")
        self._check_start(process, start)
        self.kills.append(self._look(kind, process, start))
        return _row(self.kills[-1])

    def _damage(self):
        """Damages a random file: one of the newest checkpoint if there is another checkpoint, or a small file."""
        folder, random = self.killed.path, self._random
        kinds = injected.CHECKPOINT_DAMAGE if len(self.killed.checkpoints()) > 1 else ()
        kind = random.choice([*kinds, *injected.SMALL_DAMAGE])
        said = injected.damage(folder, kind, random)
        if said is None:
            return f"{kind}: there was none"
        self._damaged.add(kind.split(" ", 1)[1])
        self.lost_rows |= kind.endswith("metrics.jsonl")
        if kind in injected.CHECKPOINT_DAMAGE:
            self._damaged.add(said.partition(".")[0])
        return said

    def _fill_the_disk(self):
        """Fills the disk: a save must then end the run with one line, and must not change other files."""
        if not self.disk.is_mounted:
            return "left out: no small disk can be mounted"
        start = self.killed.newest_step()
        process = self.start(self.killed)
        process.wait_until(lambda: process.has_said("first step done"))
        self.disk.fill(int(self._random.integers(0, 2_000_000)))
        code = process.wait()
        self.disk.free()
        self._check_start(process, start)
        lines = [line for _, line in process.lines]
        errors = [line for line in lines if line.startswith("error: cannot save") or line.startswith("error: cannot write")]
        if code != 1 or len(errors) != 1 or any("Traceback" in line for line in lines):
            self.faults.append(f"on a full disk the run ended with {code} and said {lines[-3:]}")
        self.faults += self.killed.faults()
        if self.killed.newest_step() < start:
            self.faults.append(f"the newest checkpoint was of step {start} before the disk was full")
        return f"from step {start}, exit code {code}: {' '.join(errors)[:110]}"

    def _start_twice(self):
        """Starts the run twice: the second one must end with an error. The first one is suspended, and killed afterwards."""
        start = self.killed.newest_step()
        process = self.start(self.killed)
        process.wait_until(lambda: process.has_said("first step done"))
        process.signal(signal.SIGSTOP)
        second = self.start(self.killed)
        code = second.wait()
        refused = [line for _, line in second.lines if line.startswith("error: ") and "in use by another training" in line]
        if code != 1 or not refused:
            self.faults.append(f"a second run ended with {code} and said {[line for _, line in second.lines][-3:]}")
        process.kill()
        self._check_start(process, start)
        self.faults += self.killed.faults()
        return f"exit code {code}: {' '.join(refused)[-90:]}"

    def _kill_program(self, name):
        """Kills a program that writes files: files with final names must be complete, and its child processes must end."""
        output = os.path.join(self._folder, name)
        process = Process(self._command(name, output), os.path.join(self._folder, f"{name}.log"))
        time.sleep(self._random.uniform(0.3, 1.0) * self._program_seconds.get(name, 1.0))
        children = injected.children_of(process.pid)
        is_killed = process.kill()
        deadline = time.monotonic() + 5
        while any(map(injected.is_running, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = sum(map(injected.is_running, children))
        if left:
            self.faults.append(f"{left} processes of a killed {name} run 5 s later")
        self.faults += [f"{name}: {fault}" for fault in _faults_of_output(output)]
        return f"{'killed' if is_killed else 'had ended'} after {process.lived:4.1f} s, {len(children)} children"

    def _command(self, name, output):
        data = os.path.join(self._folder, "data", "shapes")
        model, source = f"--model_dir={self.undisturbed.path}", f"--voc_root={data}"
        commands = {
            "converter": ("data/voc_to_tfrecord.py", source, "--split=train", "--num_workers=2", f"--output={output}"),
            "export": ("official/export.py", model, f"--output_dir={output}"),
            "predict": ("official/predict.py", model, f"--input={data}/JPEGImages", f"--output_dir={output}"),
        }
        names = ["--class_names=background,circle,square,triangle,star,ring"] * (name == "converter")
        return injected.program(_ROOT, *commands[name], *names)

    def run_programs(self):
        """Runs the other programs without kills: before the kills to measure their time, and after them in the same folders."""
        for name in sorted({event for event in self._events} & {"converter", "export", "predict"}):
            output = os.path.join(self._folder, name)
            process = Process(self._command(name, output), os.path.join(self._folder, f"{name}.log"))
            if process.wait():
                self.faults.append(f"{name} failed; see {name}.log")
            self._program_seconds[name] = process.seconds
            left = [found for found in ModelDir(self._folder).names() if found.startswith(name) and _LEFT_OVER.search(found)]
            if left:
                self.faults.append(f"{name} left {left[:3]}")

    def _wait_for(self, kind, process, start):
        """Waits until the activity that will be interrupted begins."""
        next_step = start + _CHECKPOINT_INTERVAL
        before = self.killed.last_write(next_step)  # A kill may have left a part of this checkpoint.
        events = {
            "starting": lambda: True,
            "training": lambda: process.has_said("first step done"),
            "saving": lambda: self.killed.last_write(next_step) > before,
            "evaluating": lambda: process.has_said(("resuming from", "first step done")) and self._awaits_evaluation(),
        }
        process.wait_until(events[kind])

    def _awaits_evaluation(self):
        step = self.killed.newest_step()
        return step > 0 and step % _VALIDATION_INTERVAL == 0 and step not in self.killed.evaluated_steps()

    def _check_start(self, process, start):
        """Checks that a run continued from the newest checkpoint, unless it was killed before it printed this."""
        said = [int(match[1]) for _, line in process.lines if (match := _RESUMING.match(line))]
        if said not in ([], [start]):
            self.faults.append(f"the newest checkpoint was of step {start}, but the next start went on from {said}")
        if start and not said and process.has_said("the first step compiles"):
            self.faults.append(f"the newest checkpoint was of step {start}, but the next start began anew")
        warned = [line for _, line in process.lines if line.startswith("warning: checkpoint")]
        if not self._damaged:
            self.faults += [f"the next start said: {line}" for line in warned]
        if any("Traceback" in line for _, line in process.lines):
            self.faults.append("the next start showed a traceback")
        if said:
            self._damaged.clear()  # The run noticed the damage, and moved the files or wrote them again.
            shutil.rmtree(os.path.join(self.killed.path, "damaged_checkpoints"), ignore_errors=True)

    def _look(self, kind, process, start):
        saved, reached = self.killed.newest_step(), process.last_step(start)
        faults = self.killed.faults(self._damaged)
        if reached - saved > _CHECKPOINT_INTERVAL:
            faults.append(f"step {reached} was done, but only {saved} is saved")
        if saved < start:
            faults.append(f"the newest checkpoint was of step {start} before and is of {saved} now")
        self.faults += faults
        return Kill(kind, start, process.lived, reached, saved, self.killed.left_over(), faults)

    def compare(self):
        """Compares the two runs; returns pairs of a name and whether its contents are equal bit by bit."""
        results = []
        names = ["metrics.json", "metrics.jsonl", "best_checkpoint/info.json", "config.yaml", "classes.json"]
        for name in names[:1] + names[2:] if self.lost_rows else names:
            results.append((name, self._content(self.undisturbed, name) == self._content(self.killed, name)))
        names = [sorted(name for name in folder.names() if name.endswith(".png")) for folder in (self.undisturbed, self.killed)]
        same = names[0] == names[1] and all(self._content(self.undisturbed, n) == self._content(self.killed, n) for n in names[0])
        results.append((f"{len(names[0])} images", same))
        for name, folder in (("final checkpoint", ""), ("best checkpoint", "best_checkpoint")):
            results.append((name, self._same_weights(folder)))
        return results

    @staticmethod
    def _content(folder, name):
        path = os.path.join(folder.path, name)
        if not os.path.exists(path):
            return f"{path} is not there"
        with open(path, "rb") as file:
            return file.read()

    def _same_weights(self, folder):
        newest = [ModelDir(os.path.join(each.path, folder)).checkpoints()[-1:] for each in (self.undisturbed, self.killed)]
        if not all(newest) or len({os.path.basename(path) for (path,) in newest}) != 1:
            return False
        first, second = (weights(path) for (path,) in newest)
        return first.keys() == second.keys() and all(first[key].tobytes() == second[key].tobytes() for key in first)


def _listed(path):
    return os.listdir(path) if os.path.isdir(path) else []


def _changed(path):
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:  # A temporary file that was removed in the meantime.
        return 0


def _faults_of_output(folder):
    """Returns a sentence about each incomplete file with a final name in a folder of records, an export or predictions."""
    import tensorflow as tf

    found = [f"{name} is not whole: {fault}" for name in ModelDir(folder).names() if (fault := ModelDir(folder)._fault(name))]
    summary = os.path.join(folder, "train.json")
    for path in tf.io.gfile.glob(os.path.join(folder, "*.tfrecord")):
        if _try(lambda path=path: list(tf.data.TFRecordDataset(path))):
            found.append(f"{path} is not whole")
    if os.path.exists(summary) and any(not os.path.exists(os.path.join(folder, each)) for each in _read_json(summary)["shards"]):
        found.append(f"{summary} names files that are not there")
    if os.path.exists(os.path.join(folder, "variables")) and not os.path.exists(os.path.join(folder, "saved_model.pb")):
        found.append(f"{folder} is half an export")
    return found


def _row(kill):
    left_over = f"{len(kill.left_over)} unfinished" if kill.left_over else "none unfinished"
    return (
        f"{kill.kind:10} after {kill.seconds:5.1f} s | from step {kill.start:3} | reached {kill.reached:3} | saved {kill.saved:3}"
        f" | lost {kill.reached - kill.saved} | {left_over} | {'; '.join(kill.faults) or 'whole'}"
    )


def _report(experiment, durations):
    kinds = [kill.kind for kill in experiment.kills]
    happened = [kind for kind, _ in experiment.done]
    if happened:
        print(f"{len(happened)} faults ({', '.join(f'{happened.count(kind)} {kind}' for kind in sorted(set(happened)))})")
    print(f"{len(kinds)} kills ({', '.join(f'{kinds.count(kind)} {kind}' for kind in _KINDS)}); {experiment.train_steps} steps")
    print("undisturbed: " + ", ".join(f"{kind} {getattr(durations, kind):.2f} s" for kind in _KINDS))
    if experiment.kills:
        lost = [kill.reached - kill.saved for kill in experiment.kills]
        print(f"steps lost a kill: at most {max(lost)}, {statistics.mean(lost):.1f} on average; interval {_CHECKPOINT_INTERVAL}")
    stayed = sorted(set(experiment.killed.names()) - set(experiment.undisturbed.names()))
    stayed = [name for name in stayed if "events.out" not in name]
    print(f"files that only the killed run left: {', '.join(stayed) or 'none'}")
    for name, same in experiment.compare():
        print(f"{name:26} {'equal to the bit' if same else 'DIFFERENT'}")
        if not same:
            experiment.faults.append(f"{name} differs from the undisturbed run's")
    for fault in experiment.faults:
        print(f"FAULT: {fault}")
    print("passed" if not experiment.faults else f"{len(experiment.faults)} faults")


def main(argv):
    """Prints a line about every kill and fault, and the comparison; returns 1 if any condition is violated."""
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tpuseg  # noqa: F401 - imported before TensorFlow, because it selects the version of Keras.

    if _WORK_DIR.value and _listed(_WORK_DIR.value):
        sys.exit(f"error: --work_dir={_WORK_DIR.value} is not empty; name a new folder")
    with tempfile.TemporaryDirectory(prefix="kill_and_resume") as temporary:
        experiment = Experiment(_WORK_DIR.value or temporary, _KILLS.value, _FAULTS.value, _SEED.value)
        try:
            experiment.make_data()
            durations = experiment.run_undisturbed()
            experiment.run_programs()
            experiment.run_killed(durations)
            experiment.run_programs()
            _report(experiment, durations)
        finally:
            if experiment.disk:
                experiment.disk.close()
    return 1 if experiment.faults else 0


if __name__ == "__main__":
    app.run(main)
