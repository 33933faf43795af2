"""The machine: distribution strategy and precision."""

import contextlib
import importlib.metadata
import os
import platform
import re
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.io import files
from tpuseg.utils import private_apis
from tpuseg.utils.messages import format_count


@contextlib.contextmanager
def precision(runtime: schema.RuntimeConfig) -> Iterator[None]:
    """Sets the policy of the layers that are built inside the block: compute in the given type, variables in float32.

    A layer keeps the policy that it was built with. Afterwards the policy is what it was: a program that loads a model may have
    layers of its own.
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policies[runtime.mixed_precision_dtype])
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def make_strategy(runtime: schema.RuntimeConfig) -> tf.distribute.Strategy:
    """Returns the strategy that the configuration asks for.

    A TPU's name is enough to get a TPUStrategy, and TF_CONFIG with a cluster is enough to get several workers.

    Raises:
      ValueError: the configuration contradicts itself or the machine.
      ConnectionError: the TPU did not answer; says what was tried and what to do.
    """
    # Not the logical ones: to ask for these starts TensorFlow, before which several workers must have found each other.
    gpus = tf.config.list_physical_devices("GPU")
    kind = runtime.distribution_strategy
    if kind == "auto":
        if runtime.tpu:
            kind = "tpu"
        elif _cluster_workers() > 1:
            kind = "multi_worker_mirrored"
        else:
            kind = "mirrored" if gpus else "one_device"
    if runtime.tpu and kind != "tpu":
        raise ValueError(f"--tpu={runtime.tpu} needs runtime.distribution_strategy `tpu` or `auto`, not `{kind}`")
    if kind == "tpu":
        if not runtime.tpu:
            raise ValueError("runtime.distribution_strategy is `tpu`: name the TPU with --tpu=NAME, or --tpu=local on its own VM")
        return _connect_to_tpu(runtime.tpu, runtime.tpu_connect_timeout)
    if kind == "multi_worker_mirrored":
        if not _cluster_workers():
            raise ValueError("runtime.distribution_strategy is `multi_worker_mirrored`: describe the workers in TF_CONFIG")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        return create_mirrored()
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


_ADDRESS = re.compile(r"[^\s:/]+:\d{1,5}$|\[[0-9a-fA-F:.]+\]:\d{1,5}$")


def create_mirrored(devices: list[str] | None = None) -> tf.distribute.MirroredStrategy:
    """Returns a strategy over devices; over all GPUs, or all logical CPUs where there is none, when none are given.

    A process may make several, as a notebook that trains twice does.
    """
    return private_apis.mirrored_strategy(devices)


_EXAMPLE = 'for example {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def _cluster_workers() -> int:
    """Returns how many workers the environment variable TF_CONFIG describes, 0 if it is not set.

    Raises:
      ValueError: the variable is not what TensorFlow reads; says what is wrong and how it is written.
    """
    value = files.parse_json(os.environ.get("TF_CONFIG") or "{}", "TF_CONFIG")
    cluster = value.get("cluster", {}) if isinstance(value, dict) else None
    if not isinstance(cluster, dict):
        raise ValueError(f"TF_CONFIG is not a description of a cluster; {_EXAMPLE}")
    for job, hosts in cluster.items():
        if not isinstance(hosts, list) or not all(isinstance(host, str) and _ADDRESS.match(host) for host in hosts):
            raise ValueError(f"TF_CONFIG: cluster.{job[:40]} must be a list of host:port; {_EXAMPLE}")
    num_workers = sum(len(cluster.get(job, [])) for job in ("worker", "chief"))
    if num_workers:
        _check_cluster_task(value.get("task"), cluster)
    return num_workers


def _check_cluster_task(task: Any, cluster: dict[str, list[str]]) -> None:
    """Raises ValueError if TF_CONFIG does not say which worker of the cluster this process is."""
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if not isinstance(kind, str) or kind not in cluster:
        raise ValueError(f"TF_CONFIG: task.type must be one of {', '.join(cluster)}; {_EXAMPLE}")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(cluster[kind]):
        raise ValueError(f"TF_CONFIG: task.index must be 0 to {len(cluster[kind]) - 1}, as cluster.{kind} has {len(cluster[kind])}")


def _connect_to_tpu(name: str, timeout: int) -> tf.distribute.Strategy:
    """Connects in a thread of its own, because TensorFlow's resolver can wait for ever for a TPU that is not there."""
    outcome: dict[str, Any] = {}

    def connect() -> None:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
            if name != "local":
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            outcome["resolver"] = resolver
        except Exception as error:  # Whatever it was, the user gets it with what to do.
            outcome["error"] = error

    thread = threading.Thread(target=connect, daemon=True)
    print(f"connecting to TPU `{name}` (at most {timeout} s)", flush=True)
    thread.start()
    thread.join(timeout)
    if "resolver" in outcome:
        return tf.distribute.TPUStrategy(outcome["resolver"])
    if "error" in outcome:
        lines = str(outcome["error"]).strip().splitlines()
        reason = f"{type(outcome['error']).__name__}: {lines[0] if lines else ''}"[:300]
    else:
        reason = f"no answer within {timeout} s (runtime.tpu_connect_timeout)"
    raise ConnectionError(
        f"cannot use TPU `{name}`: {reason}\n"
        f"  tried: {'the TPU of this machine' if name == 'local' else 'to find and initialise it by name'}; {_versions()}\n"
        "  do: on a TPU VM use --tpu=local with tensorflow-tpu installed; for a remote TPU check its name, zone and project"
        " (gcloud compute tpus tpu-vm list), that it is READY, and that it runs TensorFlow 2.20; without a TPU leave --tpu out"
    )


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "tensorflow-tpu", "libtpu"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes checkpoints and metrics: the first of several workers, or the only one."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" if has_chief else resolver.task_id == 0


def explain_lost_worker(error: tf.errors.OpError, model_dir: str) -> str | None:
    """Returns the line for people if another worker of the cluster is why a step failed, else None."""
    message = str(error.message)
    if _cluster_workers() < 2 or "Collective ops is aborted by" not in message:
        return None
    reason = message.partition("Collective ops is aborted by: ")[2].splitlines()[0].strip()
    return (
        f"another worker of TF_CONFIG's cluster stopped or cannot be reached ({reason}); see its output for the reason\n"
        f"  once that is fixed, start every worker again with its command: they resume from the newest checkpoint in {model_dir}"
    )


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the steps run on TPU cores."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def describe(strategy: tf.distribute.Strategy, runtime: schema.RuntimeConfig) -> str:
    """Returns a line about where the program runs."""
    count = strategy.num_replicas_in_sync
    return (
        f"{type(strategy).__name__}, {format_count(count, 'replica')}, {runtime.mixed_precision_dtype}, TensorFlow {tf.__version__}"
    )
