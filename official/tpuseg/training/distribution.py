"""The distribution strategy and the precision."""

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
    """Sets the policy of the layers that are built inside the block: computation in the given type, variables in float32.

    A layer keeps the policy with which it was built. The policy is restored after the block, because a program that loads a model
    may build other layers.
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policies[runtime.mixed_precision_dtype])
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def make_strategy(runtime: schema.RuntimeConfig) -> tf.distribute.Strategy:
    """Creates the strategy of the configuration.

    By default, the name of a TPU selects a TPUStrategy, and TF_CONFIG with a cluster of several workers selects a
    MultiWorkerMirroredStrategy.

    Raises:
      ValueError: the configuration contradicts itself or the machine.
      ConnectionError: the TPU cannot be used; the message contains the attempt and what to do.
    """
    # Listing logical devices would initialize TensorFlow, but several workers must connect to each other before that.
    gpus = tf.config.list_physical_devices("GPU")
    kind = runtime.distribution_strategy
    if kind == "auto":
        if runtime.tpu:
            kind = "tpu"
        elif _count_cluster_workers() > 1:
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
        if not _count_cluster_workers():
            raise ValueError("runtime.distribution_strategy is `multi_worker_mirrored`: describe the workers in TF_CONFIG")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        return create_mirrored()
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


_ADDRESS = re.compile(r"[^\s:/]+:\d{1,5}$|\[[0-9a-fA-F:.]+\]:\d{1,5}$")


def create_mirrored(devices: list[str] | None = None) -> tf.distribute.MirroredStrategy:
    """Creates a strategy over the given devices; by default, over all GPUs, or over all logical CPUs if there are no GPUs.

    A process can create several strategies, for example a notebook that trains twice.
    """
    return private_apis.mirrored_strategy(devices)


_EXAMPLE = 'for example {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def _count_cluster_workers() -> int:
    """Returns the number of workers in the environment variable TF_CONFIG; 0 if it is not set.

    Raises:
      ValueError: the value is not a valid cluster; the message contains the error and an example.
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
    """Raises ValueError if TF_CONFIG does not identify this process as one of the cluster's workers."""
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if not isinstance(kind, str) or kind not in cluster:
        raise ValueError(f"TF_CONFIG: task.type must be one of {', '.join(cluster)}; {_EXAMPLE}")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(cluster[kind]):
        raise ValueError(f"TF_CONFIG: task.index must be 0 to {len(cluster[kind]) - 1}, as cluster.{kind} has {len(cluster[kind])}")


def _connect_to_tpu(name: str, timeout: int) -> tf.distribute.Strategy:
    """Connects in a separate thread, because TensorFlow's resolver can wait endlessly for a TPU that does not exist."""
    outcome: dict[str, Any] = {}

    def connect() -> None:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
            if name != "local":
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            outcome["resolver"] = resolver
        except Exception as error:  # Any error is reported to the user, together with what to do.
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
        f"  tried: {'the TPU of this machine' if name == 'local' else 'to find and initialise it by name'}; {_list_versions()}\n"
        "  do: on a TPU VM use --tpu=local with tensorflow-tpu installed; for a remote TPU check its name, zone and project"
        " (gcloud compute tpus tpu-vm list), that it is READY, and that it runs TensorFlow 2.20; without a TPU leave --tpu out"
    )


def _list_versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "tensorflow-tpu", "libtpu"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes checkpoints and metrics: it is the only worker, or the first of several."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" if has_chief else resolver.task_id == 0


def explain_lost_worker(error: tf.errors.OpError, model_dir: str) -> str | None:
    """Returns an explanation if a step failed because of another worker of the cluster; otherwise None."""
    message = str(error.message)
    if _count_cluster_workers() < 2 or "Collective ops is aborted by" not in message:
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
    """Returns a line about the strategy, the number of replicas, the precision and TensorFlow's version."""
    count = strategy.num_replicas_in_sync
    return (
        f"{type(strategy).__name__}, {format_count(count, 'replica')}, {runtime.mixed_precision_dtype}, TensorFlow {tf.__version__}"
    )
