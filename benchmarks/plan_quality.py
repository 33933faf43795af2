"""What a planned experiment reaches, beside a copied one, on the same records in the same wall-clock time.

python benchmarks/plan_quality.py --data=MY_FOLDER --output=OUT --budget=8m --init_checkpoint=WEIGHTS.h5 --cores=0,1

The planned experiment is what `plan.py --budget` writes. The copied one is what a user has who follows the instructions in the
files of `*_custom`: a copy with the number of classes and the paths of the records, for CPUs of `maskrcnn_custom_small` or
`deeplab_custom`. Its number of steps is measured in the same way, so that both trainings are expected to take the whole budget.
With `--cores`, the two run at the same time, each on one core of the CPU; otherwise one after the other. The result is a table of
all evaluations, and `result.json`.
"""

import concurrent.futures
import json
import os
import subprocess
import sys

import yaml
from absl import app, flags

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_DATA = flags.DEFINE_string("data", None, "Folder of labelled images.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "New folder for records, runs and the result.", required=True)
_BUDGET = flags.DEFINE_string("budget", "10m", "Time of each training.")
_PLAN_FLAGS = flags.DEFINE_multi_string("plan_flag", [], "A flag of plan.py, such as --classes=person; may be repeated.")
_INIT = flags.DEFINE_string("init_checkpoint", "imagenet", "Initial weights of both.")
_CORES = flags.DEFINE_list("cores", [], "Two cores, of the planned and of the copied experiment.")

_PLANNED, _COPIED = "planned", "copied"
_COPIES = {"instances": "maskrcnn_custom_small", "semantic": "deeplab_custom"}
_METRICS = {"instances": ("segm/AP", "bbox/AP"), "semantic": ("mean_iou",)}


def _run(name: str, arguments: list[str]) -> None:
    """Runs a program on the core of an experiment; its output goes to a file."""
    core = dict(zip((_PLANNED, _COPIED), _CORES.value, strict=False)).get(name)
    pinned = ["taskset", "-c", core] if core else []
    with open(os.path.join(_OUTPUT.value, f"{name}.log"), "a") as log:
        done = subprocess.run(
            [*pinned, sys.executable, *arguments], cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} failed, see {log.name}")


def _plan(name: str, folder: str, *more: str) -> None:
    _run(name, ["official/plan.py", f"--data={_DATA.value}", f"--output={folder}", *_PLAN_FLAGS.value, *more])


def _train(name: str, experiment: str) -> None:
    override = f"task.init_checkpoint={_INIT.value}"
    model_dir = os.path.join(_OUTPUT.value, f"run_{name}")
    _run(name, ["official/train.py", f"--experiment={experiment}", f"--model_dir={model_dir}", f"--params_override={override}"])


def _train_planned(records: str) -> None:
    del records
    folder = os.path.join(_OUTPUT.value, _PLANNED)
    _plan(_PLANNED, folder, f"--budget={_BUDGET.value}")
    _train(_PLANNED, os.path.join(folder, "experiment.yaml"))


def _train_copied(records: str) -> None:
    path = os.path.join(_OUTPUT.value, "copied.yaml")
    _run(_COPIED, [os.path.abspath(__file__), "--data=-", "--output=-", f"--budget={_BUDGET.value}", "copy", records, path])
    _train(_COPIED, path)


def write_copy(records: str, path: str, budget_text: str) -> None:
    """Writes the copied experiment, with the number of steps that fits the budget.

    Args:
      records: folder of a plan, of which only the records and the names of the classes are used.
      path: YAML file to write.
      budget_text: duration, such as `8m`.
    """
    from tpuseg.configs import experiments, overrides
    from tpuseg.planning import budget, rules

    with open(os.path.join(records, "fingerprint.json")) as file:
        found = json.load(file)
    content = {
        "extends": _COPIES[found["kind"]],
        "task.model.num_classes": len(found["class_names"]),
        "task.train_data.input_path": os.path.join(records, "train-*.tfrecord"),
        "task.validation_data.input_path": os.path.join(records, "val-*.tfrecord"),
    }
    _write_yaml(path, overrides.from_mapping(content, path))
    base = experiments.load(path).config
    measured = budget.measure(path, records)
    seconds = budget.parse_duration(budget_text)
    fitted = budget.fit(seconds, measured, found["num_images"]["val"], base.trainer.checkpoint_interval, 10**6)
    if fitted is None:
        raise ValueError(f"{budget_text} is too short for the copied experiment")
    print(budget.describe(fitted, measured), flush=True)
    content |= {choice.path: choice.value for choice in rules.length(fitted.steps, fitted.num_evaluations, base, "")}
    _write_yaml(path, overrides.from_mapping(content, path))


def _write_yaml(path: str, content: dict) -> None:
    with open(path, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)


def _summarize(kind: str) -> dict[str, dict]:
    """Returns steps, seconds and the metrics of every evaluation of both runs."""
    result = {}
    for name in (_PLANNED, _COPIED):
        folder = os.path.join(_OUTPUT.value, f"run_{name}")
        with open(os.path.join(folder, "metrics.json")) as file:
            last = json.load(file)
        with open(os.path.join(folder, "metrics.jsonl")) as file:
            rows = [json.loads(line) for line in file]
        curve = [{"step": row["step"], **{metric: _look_up(row, metric) for metric in _METRICS[kind]}} for row in rows]
        result[name] = {"seconds": last["resources"]["seconds"], "curve": curve}
    return result


def _look_up(row: dict, metric: str) -> float:
    for key in metric.split("/"):
        row = row[key]
    return row


def _print(result: dict[str, dict]) -> None:
    for name, row in result.items():
        print(f"{name}: {row['seconds'] / 60:.1f} min")
        for point in row["curve"]:
            print(f"  step {point['step']:6d}  " + "  ".join(f"{key} {value:.4f}" for key, value in point.items() if key != "step"))


def main(argv: list[str]) -> None:
    """Plans, trains both experiments and prints the table."""
    if argv[1:2] == ["copy"]:
        write_copy(*argv[2:4], _BUDGET.value)
        return
    os.makedirs(_OUTPUT.value)
    records = os.path.abspath(os.path.join(_OUTPUT.value, "records"))
    _plan("records", records)
    with concurrent.futures.ThreadPoolExecutor(2 if _CORES.value else 1) as pool:
        for future in [pool.submit(train, records) for train in (_train_planned, _train_copied)]:
            future.result()
    with open(os.path.join(records, "fingerprint.json")) as file:
        result = _summarize(json.load(file)["kind"])
    with open(os.path.join(_OUTPUT.value, "result.json"), "w") as file:
        json.dump(result, file, indent=1)
    _print(result)


if __name__ == "__main__":
    app.run(main)
