"""What the binaries share: their common flags, and one clear line for everything that a user can get wrong."""

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
import typing
from collections.abc import Callable

from absl import app, flags, logging

from tpuseg.data import class_names
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules
from tpuseg.utils import check_dependencies
from tpuseg.utils.error_text import first_line

if typing.TYPE_CHECKING:
    from tpuseg.configs import experiments

FLAGS = flags.FLAGS
_DATA_DIR = "datasets"
_INTERRUPTED = 130  # As shells say it: 128 and the signal's number.
_HELP = {dashes + name for dashes in ("-", "--") for name in ("help", "helpshort", "helpfull", "h", "?")}


def define_experiment_flags() -> None:
    """Defines the flags of every binary that works on an experiment."""
    flags.DEFINE_string("experiment", None, "Name of an experiment, or the path of its YAML file.")
    flags.DEFINE_multi_string("config_file", [], "YAML file that overrides the experiment; may be repeated.")
    flags.DEFINE_string("params_override", "", "key.key=value,key.key=value, or a YAML file; overrides all files.")
    define_import_flag()
    flags.DEFINE_string("model_dir", None, "Folder of checkpoints, metrics and images; by default runs/EXPERIMENT.")
    flags.DEFINE_string("data_dir", _DATA_DIR, "Folder for relative input patterns; local or gs://.")
    flags.DEFINE_string("tpu", "", "Name of a TPU, or `local` on the TPU VM itself.")


def define_import_flag() -> None:
    """Defines the flag that names modules with components of other packages."""
    flags.DEFINE_multi_string(
        "import_module", [], "Module that registers components of other packages, see docs/extending.md; may be repeated."
    )


def define_conversion_flags() -> None:
    """Defines the flags that the converters share; see `conversion_options`."""
    flags.DEFINE_string("output", None, "Folder of the records and their summary.")
    flags.DEFINE_integer("num_shards", 8, "Number of shards.", lower_bound=1)
    flags.DEFINE_integer("num_workers", os.cpu_count() or 1, "Number of processes.", lower_bound=1)
    flags.DEFINE_list(
        "pixel_range", [], "LOW,HIGH: the values that become black and white in images with more than 8 bits; 0,4095 for 12 bits."
    )
    flags.DEFINE_integer(
        "num_channels",
        3,
        "Number of channels: 3 is RGB (greyscale is repeated, transparency dropped); 1, 4 and others need files with this number.",
        lower_bound=1,
        upper_bound=64,
    )
    flags.DEFINE_bool("overwrite", False, "Replace records of a different data set with the same names.")


def define_tile_flags() -> None:
    """Defines the flags that cut large images into windows; see `tile_rules`."""
    default = WHOLE_IMAGES
    flags.DEFINE_integer(
        "tile_size",
        default.size,
        "Side in pixels of the windows that larger images are cut into, at native resolution; 0 writes whole images.",
    )
    flags.DEFINE_float("tile_overlap", default.overlap, "Smallest part of its side that a window shares with the next one.")
    flags.DEFINE_float(
        "tile_min_visible", default.min_visible, "Objects of which a window shows a smaller part are ignored regions there."
    )
    flags.DEFINE_float(
        "tile_empty_share", default.empty_share, "At most this part of the windows has no objects; the others are left out."
    )


def tile_rules() -> TileRules:
    """Returns the rules of the flags of `define_tile_flags`.

    Raises:
      ValueError: a value is out of range, or has no effect because `--tile_size` is 0.
    """
    names = ("tile_overlap", "tile_min_visible", "tile_empty_share")
    given = [name for name in names if FLAGS[name].present]
    if given and not FLAGS.tile_size:
        raise ValueError(f"--{given[0]} has no effect without --tile_size, the side of the windows in pixels")
    if FLAGS.tile_size < 0:
        raise ValueError(f"--tile_size is {FLAGS.tile_size}, but must be 0 (whole images) or the side of the windows in pixels")
    return TileRules(FLAGS.tile_size, FLAGS.tile_overlap, FLAGS.tile_min_visible, FLAGS.tile_empty_share)


def conversion_options() -> dict[str, typing.Any]:
    """Returns the flags of `define_conversion_flags`, except `--output`, as keyword arguments of the converters."""
    from tpuseg.io import image_files

    return {
        "num_shards": FLAGS.num_shards,
        "num_workers": FLAGS.num_workers,
        "pixel_range": image_files.parse_range(FLAGS.pixel_range, "--pixel_range"),
        "num_channels": FLAGS.num_channels,
        "overwrite": FLAGS.overwrite,
    }


def load_experiment(beside: str = "") -> "experiments.Experiment":
    """Returns the experiment that the flags describe.

    Args:
      beside: a folder; without `--experiment`, the configuration that a run wrote there (or in `--model_dir`) is meant.

    Raises:
      ValueError: no experiment is named; lists those that there are.
    """
    from tpuseg.configs import experiments
    from tpuseg.io import files

    name = FLAGS.experiment
    folders = [folder for folder in (beside, FLAGS.model_dir) if folder]
    for folder in folders:
        written = os.path.join(folder, experiments.CONFIG_FILE)
        if not name and files.exists(written):
            name = written
    if not name:
        searched = f", and {folders[-1]} has no {experiments.CONFIG_FILE} of a run" if folders else ""
        raise ValueError(
            f"--experiment is missing{searched}; for example --experiment=maskrcnn_shapes, which needs no data\n"
            f"experiments: {', '.join(experiments.experiment_names())}"
        )
    experiment = experiments.load(name, FLAGS.config_file, FLAGS.params_override, FLAGS.tpu, FLAGS.import_module)
    if os.path.basename(name) == experiments.CONFIG_FILE:
        experiment.name = os.path.basename(os.path.dirname(os.path.abspath(name)))
    return experiment


def model_dir(experiment_name: str) -> str:
    """Returns the model directory: the flag, or a folder named after the experiment."""
    return FLAGS.model_dir or os.path.join("runs", experiment_name)


def data_dir() -> str:
    """Returns the data directory."""
    return FLAGS.data_dir


def records_hint(output: str, split: str) -> str:
    """Returns the line that says how to train on converted records: as input_path, from a data directory.

    Args:
      output: folder of the records.
      split: the first part of their names.
    """
    folder = output.rstrip("/")
    parent, name = (folder, "") if folder == _DATA_DIR else os.path.split(folder)
    where = "which is the default" if parent == _DATA_DIR else "of the programs in official/"
    pattern = os.path.join(name, f"{split}-*.tfrecord")
    return f"written to {output}; use input_path: {pattern} with --data_dir={parent or '.'}, {where}"


def refuse_arguments(argv: list[str]) -> None:
    """Raises ValueError for anything on the command line that is not a flag."""
    if len(argv) > 1:
        raise ValueError(f"`{argv[1]}` is not a flag; flags are written --name=value (see --help)")


def require(**values: str | None) -> None:
    """Raises ValueError if a flag that is needed was left out."""
    missing = [f"--{name}" for name, value in values.items() if not value]
    if missing:
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing (see --help)")


def names(text: str) -> list[str]:
    """Returns the names in a comma-separated list, or in a file that has one a line; see `class_names.read`."""
    return class_names.read(text)


def run(main: Callable[[list[str]], int | None]) -> None:
    """Runs a binary: what a user can set right is one line on stderr and exit code 1, not a trace.

    Args:
      main: takes the command line after the flags; returns the exit code, None for 0.
    """
    interrupts = _Interrupts()
    interrupts.listen()
    check_dependencies.check()
    # What TensorFlow and orbit tell about themselves; the binaries print what people need.
    logging.set_verbosity(logging.WARNING)

    def guarded(argv: list[str]) -> int | None:
        try:
            return main(argv)
        except SystemExit:
            raise
        except BaseException as error:
            if os.environ.get("TPUSEG_TRACE"):
                raise
            return interrupts.code_of(error) or _explain(error)

    try:
        app.run(guarded)
    except SystemExit:
        if _HELP.isdisjoint(sys.argv[1:]):
            raise
        sys.exit(0)  # To absl, asking for help is an error.


class _Interrupts:
    """Ctrl-C as one line, also where it comes in the middle of an import, which turns it into errors of other classes."""

    def __init__(self) -> None:
        self._came = False

    def listen(self) -> None:
        """Notes interrupts from now on."""

        def handle(number: int, frame: object) -> None:
            self._came = True
            signal.default_int_handler(number, frame)  # type: ignore[arg-type]

        signal.signal(signal.SIGINT, handle)

    def code_of(self, error: BaseException) -> int:
        """Returns the exit code if an error comes of an interrupt, and says so; else 0."""
        if not self._came and not isinstance(error, KeyboardInterrupt):
            return 0
        print("\ninterrupted", file=sys.stderr, flush=True)
        # An import that was cut short can hang or crash while the interpreter cleans up; what was printed must not be lost.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        if isinstance(error, KeyboardInterrupt):
            return _INTERRUPTED
        os._exit(_INTERRUPTED)


def _explain(error: BaseException) -> int:
    """Prints what went wrong; returns the exit code."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    message = _message(error)
    if message is None:
        message = f"{type(error).__name__}: {first_line(error)}\n  this is an internal error; {_write_trace(error)}"
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1


def _message(error: BaseException) -> str | None:
    """Returns the line for an error that a user can set right; None for a fault of the program."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; use smaller images, a smaller batch or fewer workers"
    if isinstance(error, ValueError | OSError | ArithmeticError):
        return str(error) or type(error).__name__
    # Known by now if an error of its is raised; the flags are checked before its seconds.
    tensorflow = sys.modules.get("tensorflow")
    errors = getattr(tensorflow, "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    text = first_line(error)
    if isinstance(error, errors.ResourceExhaustedError) and "OOM" in text:
        return f"there is not enough memory on the device: {text}; use a smaller batch or smaller images"
    of_files = (
        errors.NotFoundError,
        errors.PermissionDeniedError,
        errors.ResourceExhaustedError,
        errors.FailedPreconditionError,
        errors.DataLossError,
        errors.UnavailableError,
        errors.UnauthenticatedError,
        errors.DeadlineExceededError,
        errors.AlreadyExistsError,
        errors.AbortedError,
    )
    return text if isinstance(error, of_files) or type(error) is errors.OpError else None


def _write_trace(error: BaseException) -> str:
    """Writes the traceback of a fault into a file; returns the words that say where it is."""
    text = "".join(traceback.format_exception(error))
    name = time.strftime(f"tpuseg-error-%Y%m%d-%H%M%S-{os.getpid()}.txt")
    path = os.path.join(tempfile.gettempdir(), name)
    try:
        with open(path, "w", errors="replace") as file:
            file.write(f"{sys.argv}\nPython {sys.version}\n\n{text}")
    except OSError as failed:
        print(text, file=sys.stderr, flush=True)
        return f"its traceback is above ({failed})"
    return f"its traceback is in {path} (TPUSEG_TRACE=1 shows it here)"
