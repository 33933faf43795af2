"""Runs something that may crash, hang or take all memory in a forked process with limits."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from outcomes import EXPECTED_ERRORS


def outcome(call: Callable[[], Any], seconds: int = 10, megabytes: int = 1024) -> str:
    """Runs a reader of outside data.

    Args:
      call: the reader with its arguments bound.
      seconds: after which it is stopped.
      megabytes: how much memory it may take besides what this process has.

    Returns:
      `result`, the message of an expected error, `traceback ...` for any other error, or `signal ...` if it crashed or took too
      long.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20,) * 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        os.write(writing, _said(call).encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(child, 0)
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said


def _said(call: Callable[[], Any]) -> str:
    try:
        call()
        return "result"
    except EXPECTED_ERRORS as error:
        return str(error)
    except BaseException as error:
        sys.stderr.flush()
        return f"traceback {type(error).__name__}: {error}"
