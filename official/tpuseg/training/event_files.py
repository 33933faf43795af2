"""TensorBoard's event files as something that a run can do without: a failure to write them is a warning and not the end."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpuseg.io import files


def tolerate_failures(controller: Any) -> None:
    """Lets an orbit controller go on when its event files cannot be written: a full disk, a directory that disappeared."""
    for name in ("summary_manager", "eval_summary_manager"):
        manager = getattr(controller, name, None)
        if manager is not None:
            setattr(controller, name, _Manager(manager))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one, with keys such as `per_class/person/bbox`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


class _Manager:
    """A summary manager that reports a failure to write only once."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def summary_writer(self, relative_path: str = "") -> tf.summary.SummaryWriter:
        """Returns a writer; one that writes nothing if its file cannot be made."""
        with _optional():
            return _Writer(self._manager.summary_writer(relative_path))
        return tf.summary.create_noop_writer()

    def write_summaries(self, summary_dict: dict[str, Any]) -> None:
        """Writes values under one run of TensorBoard.

        Orbit makes a directory of each nested dictionary, so that TensorBoard would list a run for every class. Here the keys of
        nested dictionaries become the parts of a tag, by whose first part TensorBoard groups its charts.
        """
        with _optional():
            self._manager.write_summaries(flatten(summary_dict))

    def flush(self) -> None:
        """See orbit's SummaryManager."""
        with _optional():
            self._manager.flush()


class _Writer:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    @contextlib.contextmanager
    def as_default(self, step: Any = None) -> Iterator[Any]:
        """See tf.summary.SummaryWriter, which writes to the disk where the block ends."""
        stack = contextlib.ExitStack()
        stack.enter_context(self._writer.as_default(step))
        try:
            yield self
        finally:
            with _optional():
                stack.close()


def _optional() -> contextlib.AbstractContextManager[None]:
    return files.optional("TensorBoard's event files")
