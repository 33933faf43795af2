"""TensorBoard's event files, which are optional: if they cannot be written, a run prints a warning and continues."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpuseg.io import files


def tolerate_failures(controller: Any) -> None:
    """Lets an orbit controller continue if its event files cannot be written, for example because the disk is full."""
    for name in ("summary_manager", "eval_summary_manager"):
        manager = getattr(controller, name, None)
        if manager is not None:
            setattr(controller, name, _Manager(manager))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries to one, with keys such as `per_class/person/bbox`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


class _Manager:
    """A summary manager that ignores errors of writing, and prints a warning once."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def summary_writer(self, relative_path: str = "") -> tf.summary.SummaryWriter:
        """Returns a writer; if its file cannot be created, the writer has no effect."""
        with _ignore_errors():
            return _Writer(self._manager.summary_writer(relative_path))
        return tf.summary.create_noop_writer()

    def write_summaries(self, summary_dict: dict[str, Any]) -> None:
        """Writes values as one run of TensorBoard.

        Orbit creates a directory for each nested dictionary, so TensorBoard would list a run for every class. Here, the keys of
        nested dictionaries are joined to a tag, and TensorBoard groups its charts by the first part of the tag.
        """
        with _ignore_errors():
            self._manager.write_summaries(flatten(summary_dict))

    def flush(self) -> None:
        """See orbit's SummaryManager."""
        with _ignore_errors():
            self._manager.flush()


class _Writer:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    @contextlib.contextmanager
    def as_default(self, step: Any = None) -> Iterator[Any]:
        """See tf.summary.SummaryWriter, which writes to the disk at the end of the block."""
        stack = contextlib.ExitStack()
        stack.enter_context(self._writer.as_default(step))
        try:
            yield self
        finally:
            with _ignore_errors():
                stack.close()


def _ignore_errors() -> contextlib.AbstractContextManager[None]:
    return files.optional("TensorBoard's event files")
