"""Every private entry of another library that the package uses, imported where it is first called.

A private entry can disappear with any release of its library. So each function here says what its entry is for, and what happens
where it is missing: a slower way to the same result, or `UnsupportedVersionError`, which names the version that was tested.
`tests/utils/test_private_apis.py` tests each of them, and that no other module has any.

One module is outside: `tpu/libtpu_process.py` uses private entries of jax. It runs in a process without TensorFlow and must not
import this package.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

# What the entries were tested with.
TESTED_VERSIONS = {
    "tensorflow": "2.20.0",
    "tf_keras": "2.20.1",
    "tf-models-official": "2.20.0",
    "pycocotools": "2.0.11",
}


class UnsupportedVersionError(ValueError):
    """An installed library lacks a private entry that there is no other way for."""


def _missing(entry: str, package: str, error: Exception | None = None) -> UnsupportedVersionError:
    try:
        installed = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        installed = "of unknown version"
    failed = UnsupportedVersionError(
        f"{package} {installed} has no `{entry}`, which tpuseg needs; tested with {package} {TESTED_VERSIONS[package]}:"
        " pip install -r requirements.txt"
    )
    failed.__cause__ = error
    return failed


@tf.autograph.experimental.do_not_convert  # Layers ask while they are traced; AutoGraph would warn of the import system.
def _entry(module: str, name: str = "", package: str = "tensorflow") -> Any:
    """Returns a module, or what it has under a name.

    Raises:
      UnsupportedVersionError: the installed package has it no longer.
    """
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError) as error:
        raise _missing(f"{module}.{name}" if name else module, package, error) from error


def _attribute(value: object, name: str, package: str) -> Any:
    """Returns a private attribute of an object, or raises UnsupportedVersionError."""
    try:
        return getattr(value, name)
    except AttributeError as error:
        raise _missing(f"{type(value).__name__}.{name}", package, error) from error


# TensorFlow: building graphs for XLA.


def is_in_xla_context() -> bool:
    """Returns whether the graph that is being built goes to XLA: on a TPU, or under `jit_compile=True`.

    XLA needs static shapes, other devices are faster without the padding. There is no public function that tells them apart.

    Raises:
      UnsupportedVersionError: the entry is missing. A guess would give wrong shapes on a TPU.
    """
    is_inside = _entry("tensorflow.python.ops.control_flow_util", "GraphOrParentsInXlaContext")
    return bool(is_inside(tf.compat.v1.get_default_graph()))


def xla_sort(values: tf.Tensor) -> tf.Tensor:
    """Sorts the last axis by XLA's sort of one array, for which a TPU's compiler needs a third of the time; only inside XLA.

    Where the entry is missing, `tf.sort` gives the same result.
    """
    try:
        sort = _entry("tensorflow.compiler.tf2xla.ops.gen_xla_ops", "xla_sort")
    except UnsupportedVersionError:
        return tf.sort(values, axis=-1)
    return sort(values)


def freeze_variables(function: tf.types.experimental.ConcreteFunction) -> tf.types.experimental.ConcreteFunction:
    """Returns a concrete function whose variables are constants, with `If` and `While` left as they are, for TFLite.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    convert = _entry("tensorflow.python.framework.convert_to_constants", "convert_variables_to_constants_v2")
    return convert(function, lower_control_flow=False)


def object_graph(serialized: bytes) -> Any:
    """Returns the object graph of a checkpoint, which knows the full names of its variables; `tf.train.CheckpointView` does not.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    message = _entry("tensorflow.core.protobuf.trackable_object_graph_pb2", "TrackableObjectGraph")
    return message.FromString(serialized)


# TensorFlow: programs for a TPU without a TPU (`tpu/lowering.py`).


def lower_for_xla(function: tf.types.experimental.ConcreteFunction, platform: str | None = None) -> bytes:
    """Returns the serialized HloModuleProto of a concrete function.

    `tf.function(...).experimental_get_compiler_ir` is public, but takes values and not the specs of arguments.

    Args:
      function: a concrete function.
      platform: whose kernels are used; those that all share if None.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    from_function = _entry("tensorflow.python.eager.polymorphic_function.compiler_ir", "from_concrete_function")
    return from_function(function)(stage="hlo_serialized", platform_name=platform)


def has_kernel(operation: str, device: str) -> bool:
    """Returns whether TensorFlow's table has a kernel of an operation for a device, for example `XLA_CPU_JIT`.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    registered = _entry("tensorflow.python.framework.kernels", "get_registered_kernels_for_op")
    return any(kernel.device_type == device for kernel in registered(operation).kernel)


def function_in_graph(graph: tf.Graph, name: str) -> Any:
    """Returns the function that operations of a graph call by a name; None if the graph does not have it.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    return _attribute(graph, "_get_function", "tensorflow")(name)


def hlo_module(serialized: bytes) -> Any:
    """Returns a HloModuleProto.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    return _entry("tensorflow.compiler.xla.service.hlo_pb2", "HloModuleProto").FromString(serialized)


def hlo_instruction(**fields: Any) -> Any:
    """Returns a HloInstructionProto with the given fields.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    return _entry("tensorflow.compiler.xla.service.hlo_pb2", "HloInstructionProto")(**fields)


def hlo_float32() -> int:
    """Returns the number of float32 among HLO's element types.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    return int(_entry("tensorflow.compiler.xla.xla_data_pb2", "F32"))


def xla_all_reduce(tensor: tf.Tensor, num_replicas: int) -> tf.Tensor:
    """Returns the sum of a tensor over replicas, as XLA's all-reduce.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    if num_replicas == 1:
        return tensor
    reduce = _entry("tensorflow.compiler.tf2xla.ops.gen_xla_ops", "xla_all_reduce")
    return reduce(tensor, group_assignment=[list(range(num_replicas))], reduce_op="Add", mode="CrossReplica")


def described_replicas(num_replicas: int) -> tf.distribute.Strategy:
    """Returns a strategy of as many replicas as a TPU has cores, none of which is there.

    `run` traces one replica's program; all-reduces in it become XLA's, as they do on a TPU. Such a program can be lowered and
    compiled, but not run. A strategy is made by overriding private methods of one of TensorFlow's.

    Raises:
      UnsupportedVersionError: the entry is missing.
    """
    return _described_strategy_class()(num_replicas)


@functools.cache
def _described_strategy_class() -> Callable[[int], tf.distribute.Strategy]:
    parent = _entry("tensorflow.python.distribute.one_device_strategy", "OneDeviceExtended")

    class Extended(parent):  # type: ignore[misc, valid-type]
        num_replicas = 1

        @property
        def _num_replicas_in_sync(self) -> int:
            return self.num_replicas

        def _use_merge_call(self) -> bool:
            return False  # As under a TPUStrategy: optimizers then sum gradients by `all_reduce`.

        def _call_for_each_replica(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            with tf.device(self._device), _DescribedContext(self._container_strategy(), replica_id_in_sync_group=0):
                return fn(*args, **kwargs)

    class DescribedReplicas(tf.distribute.Strategy):
        def __init__(self, num_replicas: int) -> None:
            extended = Extended(self, "/cpu:0")
            extended.num_replicas = num_replicas
            super().__init__(extended)

    return DescribedReplicas


class _DescribedContext(tf.distribute.ReplicaContext):
    """Inside one of the replicas of `described_replicas`."""

    @property
    def devices(self) -> list[str]:
        return [self.strategy.extended._device]

    def all_reduce(self, reduce_op: Any, value: object, options: Any = None) -> Any:
        del options
        replicas = self.num_replicas_in_sync

        @tf.custom_gradient
        def reduced(tensor: tf.Tensor) -> Any:
            total = xla_all_reduce(tensor, replicas)
            result = total / replicas if reduce_op == tf.distribute.ReduceOp.MEAN else total
            return result, lambda gradient: self.all_reduce(reduce_op, gradient)

        return tf.nest.map_structure(lambda tensor: reduced(tf.convert_to_tensor(tensor)), value)


# TensorFlow: several trainings in one process.

_key_bases = itertools.count(step=100)


def mirrored_strategy(devices: list[str] | None) -> tf.distribute.MirroredStrategy:
    """Returns a MirroredStrategy whose collectives have numbers of their own.

    TensorFlow numbers the collectives of every MirroredStrategy from the same start, an attribute of the class: the second in a
    process, as of a notebook that trains twice, would meet the shapes of the first ("Shape mismatch in the collective instance").
    A TensorFlow without this attribute numbers them in another way; then nothing is changed.
    """
    attribute = "_collective_key_base"
    if not hasattr(tf.distribute.MirroredStrategy, attribute):
        return tf.distribute.MirroredStrategy(devices)
    return type("MirroredStrategy", (tf.distribute.MirroredStrategy,), {attribute: next(_key_bases)})(devices)


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Puts the random states of Python, NumPy, TensorFlow and Keras back after the block, which seeds them.

    A training makes its initial weights from seeds; the program around it must not repeat its own random numbers afterwards. Python
    and NumPy have public functions for this. Where the entries of the other two are missing, these keep the seeds of the block.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with _kept_tensorflow_seed(), _kept_keras_seed():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def _kept_tensorflow_seed() -> Iterator[None]:
    try:
        before = _entry("tensorflow.python.eager.context", "global_seed")()
    except UnsupportedVersionError:
        yield
        return
    try:
        yield
    finally:
        tf.random.set_seed(before)


@contextlib.contextmanager
def _kept_keras_seed() -> Iterator[None]:
    try:
        seeds = _entry("tf_keras.src.backend", "_SEED_GENERATOR", "tf_keras")
    except UnsupportedVersionError:
        yield
        return
    before = getattr(seeds, "generator", None)
    try:
        yield
    finally:
        seeds.generator = before


# Keras and the Model Garden: optimizers.


def create_optimizer_variables(optimizer: Any, variables: list[tf.Variable]) -> None:
    """Creates the optimizer's own variables (step count, rates, momenta), which it would only create at its first update.

    Args:
      optimizer: a legacy optimizer of Keras.
      variables: that it updates.

    Raises:
      UnsupportedVersionError: the entry is missing. Without it a checkpoint that is saved before the first step would lack them.
    """
    _attribute(optimizer, "_create_all_weights", "tf_keras")(variables)


def averaged_weights(average: Any) -> list[tuple[tf.Variable, tf.Variable]]:
    """Returns the weights of a model and their moving averages.

    Args:
      average: a Model Garden's ExponentialMovingAverage. Its public methods change the averages and weights with rounding errors.

    Raises:
      UnsupportedVersionError: the entries are missing.
    """
    names = ("_model_weights", "_average_weights")
    weights, averages = (_attribute(average, name, "tf-models-official") for name in names)
    return list(zip(weights, averages, strict=True))


# Orbit and pycocotools.


@contextlib.contextmanager
def without_orbit_messages() -> Iterator[None]:
    """Keeps orbit's controller from printing inside the block: nested dictionaries, which `training/progress.py` says for people.

    Where the entry is missing, orbit prints.
    """
    controller: Any = importlib.import_module("orbit.controller")
    name = "_log"
    printing = getattr(controller, name, None)
    if printing is None:
        yield
        return
    setattr(controller, name, controller.logging.debug)
    try:
        yield
    finally:
        setattr(controller, name, printing)


Rows = dict[tuple[Any, int], list[dict[str, Any]]]


def grouped_annotations(evaluation: Any) -> tuple[Rows, Rows] | None:
    """Returns the objects and the detections of a `COCOeval` by (image id, category id), as its parameters ask for them.

    Returns:
      None where the entries are missing; `COCOeval.evaluate` is then the slow way to the same metrics.
    """
    prepare = getattr(evaluation, "_prepare", None)
    if prepare is None:
        return None
    prepare()
    found = [getattr(evaluation, name, None) for name in ("_gts", "_dts")]
    return None if None in found else (found[0], found[1])  # type: ignore[return-value]


def keep_parameters(evaluation: Any) -> None:
    """Has `COCOeval.accumulate` take the parameters of an evaluation that was not made by `COCOeval.evaluate`."""
    evaluation._paramsEval = evaluation.params
