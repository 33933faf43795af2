"""The trainer and the evaluator of a task for orbit's controller."""

from collections.abc import Callable, Iterator
from typing import Any

import orbit
import tensorflow as tf
import tf_keras
import tqdm
from official.modeling import optimization

from tpuseg.configs import schema
from tpuseg.training import distribution
from tpuseg.training.evaluation import Evaluation
from tpuseg.training.task import SegmentationTask
from tpuseg.utils import private_apis


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error.
    """The run was requested to stop; raised between two steps."""


def _is_finite_all(values: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.math.is_finite(value) for value in values.values()])


class Trainer(orbit.StandardTrainer):
    """Runs train steps, and provides losses, learning rate and the time of waiting for input for reports."""

    def __init__(
        self,
        experiment: schema.ExperimentConfig,
        task: SegmentationTask,
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.legacy.Optimizer,
        on_step: Callable[[], None],
    ) -> None:
        """Creates the trainer; must be called in the strategy's scope.

        Args:
          experiment: the configuration.
          task: the task, which defines the train step and the input.
          model: the built model.
          optimizer: the optimizer, which `task.create_optimizer` creates.
          on_step: function that is called on the host after every step (after every loop of steps on a TPU); it may raise an
            exception to stop the run.
        """
        self.strategy = tf.distribute.get_strategy()
        self.experiment = experiment
        self.task = task
        self.model = model
        self.optimizer = optimizer
        self.global_step = orbit.utils.create_global_step()
        self._on_step = on_step
        factory = optimization.OptimizerFactory(experiment.trainer.optimizer_config)
        self._learning_rate = factory.build_learning_rate()
        average = moving_average(optimizer)
        if average is not None and not average.has_shadow_copy:
            average.shadow_copy(model)
        self._losses = {name: tf_keras.metrics.Mean(name, dtype=tf.float32) for name in task.loss_names}
        self._first_bad_step = tf.Variable(
            -1, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        # On the host, where the loop that feeds the replicas waits for input.
        with tf.device("/cpu:0"):
            self._input_seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        super().__init__(train_dataset=None, options=orbit.StandardTrainerOptions(use_tf_while_loop=False))

    def start_input(self) -> None:
        """Creates the input dataset, beginning at the restored step."""
        step = int(self.global_step.numpy())
        self.train_dataset = orbit.utils.make_distributed_dataset(
            self.strategy, lambda input_context=None: self.task.training_inputs(input_context, step)
        )

    def create_train_loop_fn(self) -> Callable[[Any, tf.Tensor], None]:
        """Returns the function that runs several steps: a loop on the host, which can be stopped between steps, or on the TPU."""
        if distribution.is_tpu(self.strategy):
            loop = tf.function(orbit.utils.create_tf_while_loop_fn(self.train_step))

            def device_loop(iterator: Iterator[Any], num_steps: tf.Tensor) -> None:
                loop(iterator, num_steps)
                self._on_step()

            return device_loop
        step_fn = tf.function(self.train_step)

        def host_loop(iterator: Iterator[Any], num_steps: tf.Tensor) -> None:
            for _ in range(int(num_steps)):
                step_fn(iterator)
                self._on_step()

        return host_loop

    def train_step(self, iterator: Iterator[Any]) -> None:
        """Runs one step on all replicas; called in a tf.function on the host."""
        before = tf.timestamp()
        with tf.control_dependencies([before]):
            inputs = next(iterator)
        with tf.control_dependencies([part for part in tf.nest.flatten(inputs, expand_composites=True)]):
            received = tf.timestamp()
        self._input_seconds.assign_add(received - before)
        # With few threads, the executor would otherwise read the clock after a part of the step. A TPU's step is not on the host.
        read_first = [] if distribution.is_tpu(self.strategy) else [received]
        compiled = self.experiment.runtime.enable_xla and not distribution.is_tpu(self.strategy)
        step = tf.function(self.task.train_step, jit_compile=True) if compiled else self.task.train_step

        def replica_step(replica_inputs: Any) -> None:
            with tf.control_dependencies(read_first):
                logs = step(replica_inputs, model=self.model, optimizer=self.optimizer)
            for name, value in logs.items():
                self._losses[name].update_state(value)
            is_first_bad = tf.logical_and(tf.logical_not(_is_finite_all(logs)), self._first_bad_step < 0)
            self._first_bad_step.assign(tf.where(is_first_bad, self.global_step, self._first_bad_step))
            self.global_step.assign_add(1)

        self.strategy.run(replica_step, args=(inputs,))

    def check_finite(self) -> None:
        """Raises NonFiniteLossError, with the images of the step, if the loss of any step so far was NaN or infinite."""
        step = int(self._first_bad_step.numpy())
        if step < 0:
            return
        names = ", ".join(self.task.source_ids(step))
        raise NonFiniteLossError(
            f"the loss is not finite at step {step + 1} (NaN or infinity); this step was not saved. Images of the batch: {names}\n"
            "  look at these images; if they are right, lower the learning rate or lengthen the warm-up"
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate = self._learning_rate
        return float(rate(self.global_step) if callable(rate) else rate)

    def current_losses(self) -> dict[str, float]:
        """Returns the mean of every loss since the last report."""
        return {name: float(metric.result()) for name, metric in sorted(self._losses.items())}

    @property
    def input_seconds(self) -> float:
        """Seconds that steps have waited for input since the program started."""
        return float(self._input_seconds.numpy())

    def train_loop_end(self) -> dict[str, float]:
        """Returns the losses since the last report and the learning rate, for TensorBoard."""
        self.check_finite()
        logs = self.current_losses()
        for metric in self._losses.values():
            metric.reset_states()
        return {**logs, "learning_rate": self.learning_rate}


def moving_average(optimizer: tf_keras.optimizers.legacy.Optimizer) -> optimization.ExponentialMovingAverage | None:
    """Returns the part of an optimizer that computes the moving average of the weights; None if there is none."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner if isinstance(inner, optimization.ExponentialMovingAverage) else None


def create_optimizer_variables(optimizer: tf_keras.optimizers.legacy.Optimizer, variables: list[tf.Variable]) -> None:
    """Creates the optimizer's variables (step count, rates, momenta), which are otherwise created at its first update.

    A checkpoint that is saved between a restart and the first step would lack variables that do not exist yet. If a checkpoint was
    restored, its values are assigned to them. Must be called in the strategy's scope.

    Args:
      optimizer: optimizer of a run.
      variables: variables that the optimizer updates.
    """
    private_apis.create_optimizer_variables(optimizer, variables)


def start_average(average: optimization.ExponentialMovingAverage) -> None:
    """Sets the moving averages of a new run to its initial weights.

    The Model Garden initialises them with 0, which `dynamic_decay` corrects within ten steps. Without it, the averages with a decay
    of 0.9998 would be a tenth of the weights after 500 steps.
    """
    strategy = tf.distribute.get_strategy()
    for weight, mean in private_apis.averaged_weights(average):
        strategy.extended.update(mean, lambda mean, weight: mean.assign(weight), args=(weight,), group=False)


def swap_weights(average: optimization.ExponentialMovingAverage) -> None:
    """Exchanges the model's weights and their moving averages exactly.

    The Model Garden's own method adds and subtracts them, which causes rounding errors: every evaluation would change the weights
    slightly, and a run with evaluations would differ from the same run without them.
    """

    def exchange(weight: tf.Variable, mean: tf.Variable) -> None:
        before = tf.identity(weight)
        weight.assign(mean)
        mean.assign(before)

    strategy = tf.distribute.get_strategy()
    for weight, mean in private_apis.averaged_weights(average):
        strategy.extended.update(weight, exchange, args=(mean,), group=False)


class Evaluator(orbit.StandardEvaluator):
    """Runs one pass over the evaluation data, and passes the outputs to the task's evaluation on the host."""

    def __init__(
        self,
        task: SegmentationTask,
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.legacy.Optimizer,
        global_step: tf.Variable,
        on_step: Callable[[], None],
    ) -> None:
        """Creates the evaluator; must be called in the strategy's scope. For the arguments, see `Trainer`."""
        self.strategy = tf.distribute.get_strategy()
        self.task = task
        self.model = model
        self._average = moving_average(optimizer)
        self._global_step = global_step
        self._on_step = on_step
        self._progress: tqdm.tqdm | None = None
        self.after_evaluation: Callable[[dict[str, Any]], None] = lambda logs: None
        # Folder of a report about the next evaluation; empty for none.
        self.report_folder = ""
        # The evaluation for which a report was collected.
        self.reported: Evaluation | None = None
        dataset = orbit.utils.make_distributed_dataset(
            self.strategy, lambda input_context=None: task.evaluation_inputs(input_context)
        )
        super().__init__(dataset)

    def eval_begin(self) -> Any:
        """Starts an evaluation; if there is a moving average of the weights, the average is evaluated."""
        if self._average is not None:
            swap_weights(self._average)
        batch = self.task.task_config.validation_data.global_batch_size
        total = -(-self.task.num_evaluation_rows() // batch)
        self._progress = tqdm.tqdm(total=total, desc="evaluating", unit="batch", leave=False, mininterval=1.0, disable=None)
        state = self.task.begin_evaluation()
        self.reported = state if self.report_folder else None
        if self.report_folder:
            state.start_report(self.report_folder)
        return state

    def eval_step(self, iterator: Iterator[Any]) -> dict[str, tuple[tf.Tensor, ...]]:
        """Predicts one batch on all replicas."""
        outputs = self.strategy.run(lambda inputs: self.task.validation_step(inputs, self.model), args=(next(iterator),))
        return {name: self.strategy.experimental_local_results(value) for name, value in outputs.items()}

    def eval_reduce(self, state: Any = None, step_outputs: Any = None) -> Any:
        """Adds one batch to the evaluation."""
        if self._progress is not None:
            self._progress.update()
        self._on_step()
        state.add_step(step_outputs)
        return state

    def eval_end(self, state: Any = None) -> dict[str, Any]:
        """Returns the metrics. While the model still has averaged weights, `after_evaluation` may save the best checkpoint."""
        if self._progress is not None:
            self._progress.close()
        logs = state.finish(int(self._global_step.numpy()))
        losses = self.task.validation_losses(self.model)
        if losses:
            print("validation " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()), flush=True)
            logs = {**logs, "loss": losses["loss"], "losses": losses}
        self.after_evaluation(logs)
        if self._average is not None:
            swap_weights(self._average)
        return _select_numbers(logs)


def _select_numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics that are numbers, for TensorBoard; the metrics of a class that does not occur are None."""
    kept = {name: _select_numbers(value) if isinstance(value, dict) else value for name, value in logs.items()}
    return {name: value for name, value in kept.items() if value is not None and not isinstance(value, list)}
