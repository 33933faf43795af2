"""Creating the program of one TPU core from an experiment's train or evaluation step, without its data and without a TPU."""

import dataclasses
import os
import tempfile
from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg import registry
from tpuseg.configs import schema
from tpuseg.tpu import lowering, topology
from tpuseg.training import distribution
from tpuseg.training.task import SegmentationTask
from tpuseg.training.trainer import moving_average
from tpuseg.utils import device, private_apis

MODES = ("train", "eval")


@dataclasses.dataclass(frozen=True)
class Program:
    """The program of one replica.

    Attributes:
      hlo: serialized HloModuleProto.
      replica_batch_size: number of images per replica.
      num_parameters: number of the model's parameters, without the optimizer's state.
    """

    hlo: bytes
    replica_batch_size: int
    num_parameters: int


@dataclasses.dataclass(frozen=True)
class Traced:
    """A traced step.

    Attributes:
      function: concrete function of one replica.
      model: model of the step.
      step: the traced Python function; it keeps the optimizer, to whose variables `function` has only weak references.
    """

    function: Any
    model: tf_keras.Model
    step: Any


def data_of(experiment: schema.ExperimentConfig, mode: str) -> schema.DataConfig:
    """Returns the settings of the data that is read in a mode, `train` or `eval`."""
    return experiment.task.train_data if mode == "train" else experiment.task.validation_data


def replica_batch_size(experiment: schema.ExperimentConfig, tpu: topology.Tpu, mode: str) -> int:
    """Returns the number of images per replica.

    Raises:
      ValueError: the global batch size is not a multiple of the number of replicas.
    """
    size = data_of(experiment, mode).global_batch_size
    if size % tpu.num_replicas:
        field = "train_data" if mode == "train" else "validation_data"
        raise ValueError(
            f"task.{field}.global_batch_size is {size}, which is not a multiple of the {tpu.num_replicas} replicas of a {tpu.name};"
            f" use a multiple of {tpu.num_replicas}, for example --params_override=task.{field}.global_batch_size="
            f"{max(1, round(size / tpu.num_replicas)) * tpu.num_replicas}"
        )
    return size // tpu.num_replicas


def build(
    experiment: schema.ExperimentConfig, num_replicas: int, batch_size: int, mode: str, tpu_forms: bool = True
) -> Program:
    """Builds the model and lowers a step.

    Args:
      experiment: the resolved configuration.
      num_replicas: number of replicas, over which losses, gradients and synchronised statistics are summed.
      batch_size: number of images per replica; replaces the experiment's global batch size.
      mode: `train` (forward, backward and update) or `eval` (including post-processing).
      tpu_forms: whether computations have the form that is fast on a TPU (see `device`); False for comparisons.

    Raises:
      lowering.LoweringError: XLA cannot compile the step.
    """
    traced = trace(experiment, num_replicas, batch_size, mode, tpu_forms)
    return Program(lowering.lower(traced.function, []), batch_size, int(traced.model.count_params()))


def trace(
    experiment: schema.ExperimentConfig, num_replicas: int, batch_size: int, mode: str, tpu_forms: bool = True
) -> Traced:
    """Returns the step that `build` lowers; see there for the arguments."""
    tf_keras.backend.clear_session()  # Otherwise the numbers in the names of layers would continue from the last program.
    with tempfile.TemporaryDirectory(prefix="tpuseg-preflight-") as folder:
        described = _replace_data(experiment, folder, num_replicas * batch_size)
        task_class = registry.architectures.get(experiment.architecture).task_class
        task = task_class(described.task, logging_dir=folder, data_dir=folder)
        strategy = private_apis.described_replicas(num_replicas)
        with device.building_for_tpu(tpu_forms), strategy.scope(), distribution.precision(experiment.runtime):
            model = task.build_model()
            step = _create_train_step(task, model, described) if mode == "train" else _create_evaluation_step(task, model)
        inputs = _create_input_specs(task, mode, num_replicas)
        with device.building_for_tpu(tpu_forms):
            function = lowering.trace(lambda batch: strategy.run(step, args=(batch,)), [inputs])
    return Traced(function, model, step)


def _create_train_step(task: SegmentationTask, model: tf_keras.Model, experiment: schema.ExperimentConfig) -> Any:
    optimizer = task.create_optimizer(experiment.trainer.optimizer_config, experiment.runtime)
    average = moving_average(optimizer)
    if average is not None:
        average.shadow_copy(model)
    return lambda batch: task.train_step(batch, model=model, optimizer=optimizer)


def _create_evaluation_step(task: SegmentationTask, model: tf_keras.Model) -> Any:
    return lambda batch: task.validation_step(batch, model)  # type: ignore[arg-type]


def _replace_data(experiment: schema.ExperimentConfig, folder: str, global_batch_size: int) -> schema.ExperimentConfig:
    """Replaces the data by an empty record file, because the input pipeline is only built for its shapes and never read."""
    with tf.io.TFRecordWriter(os.path.join(folder, "empty.tfrecord")) as writer:
        writer.write(b"")
    values = experiment.as_dict()
    for name in ("train_data", "validation_data"):
        described = {"input_path": "empty.tfrecord", "tfds_name": "", "generate": "", "global_batch_size": global_batch_size}
        values["task"][name].update(described)
    return type(experiment)(values)


def _create_input_specs(task: SegmentationTask, mode: str, num_replicas: int) -> Any:
    """Returns the specs of one replica's batch, which the experiment's input pipeline defines."""
    context = tf.distribute.InputContext(1, 0, num_replicas)
    dataset = task.training_inputs(context, 0) if mode == "train" else task.evaluation_inputs(context)
    specs = dataset.element_spec
    for spec in tf.nest.flatten(specs):
        if not spec.shape.is_fully_defined():
            raise lowering.LoweringError(f"the input has a shape that is not static, {spec}, which a TPU cannot take")
    return specs
