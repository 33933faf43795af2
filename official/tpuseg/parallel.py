"""A map over worker processes or threads that keeps the order and never runs far ahead of its consumer."""

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Tasks a worker: enough that none waits, few enough that their results fit in memory.
_AHEAD = 4


def _start_worker() -> None:
    """Leaves interrupts to the parent, and ends with it: one that was killed cannot tell its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def map_in_processes(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Yields `function(item)` for every item, in order, computed by `num_workers` processes; by this one if that is 1.

    Workers are fresh processes, as a forked TensorFlow hangs: the function must be picklable, and they start fast only if its
    module does not import TensorFlow.

    Raises:
      OSError: a worker died.
      Exception: what the function raised for the first item that failed.
    """
    if num_workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, context, _start_worker) as pool:
        try:
            yield from _in_order(pool, function, items, num_workers * _AHEAD)
        except BrokenProcessPool as error:
            raise OSError("a worker process died, perhaps for want of memory; try again with fewer --num_workers") from error


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Like `map_in_processes`, for functions that spend their time outside of Python, such as decoding pictures."""
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        yield from _in_order(pool, function, items, num_workers * _AHEAD)


def _in_order(
    pool: concurrent.futures.Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
