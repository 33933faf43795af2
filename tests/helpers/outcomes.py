"""The property that every reader of outside data must have: the right result, or one error that names the file."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

# What `tpuseg.cli.run` turns into one `error:` line.
EXPECTED_ERRORS = (ValueError, OSError, ArithmeticError)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises AssertionError if the block takes longer. Only in the main thread, and only between Python instructions."""

    def on_alarm(number: int, frame: Any) -> None:
        del number, frame
        raise AssertionError(f"did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def result_or_error(call: Callable[[], Any], *names: str, seconds: float = 10.0) -> tuple[Any, str]:
    """Runs a reader of outside data.

    Args:
      call: the reader with its arguments bound.
      names: at least one of them must be in the message of an error: the file's name, usually.
      seconds: the reader must end within so many seconds.

    Returns:
      The result and an empty message, or None and the message of an expected error.

    Raises:
      AssertionError: the message names none of the files, is longer than a few lines, or the reader took too long.
      Exception: any error that a program would show as a traceback.
    """
    with time_limit(seconds):
        try:
            return call(), ""
        except EXPECTED_ERRORS as error:
            message = str(error)
    assert message.strip(), "the error has no message"
    assert "Traceback" not in message, message
    assert len(message.splitlines()) <= 4 and len(message) < 2000, message
    assert not names or any(name in message for name in names), f"names none of {names}: {message}"
    return None, message
