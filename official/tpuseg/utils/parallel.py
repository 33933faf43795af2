"""A map over worker processes or threads that keeps the order and limits the number of pending results."""

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Items that were submitted to workers, with their pending results.
Waiting: TypeAlias = collections.deque[tuple[Item, concurrent.futures.Future[Result]]]

# Pending items per worker: enough to keep workers busy, and few enough for their results to fit into memory.
_AHEAD = 4


def _start_worker() -> None:
    """Ignores interrupts, which the parent handles, and ends the worker when the parent ends, also if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def map_in_processes(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Yields `function(item)` for every item, in order, computed by `num_workers` processes, or by this process if it is 1.

    Workers are started with `spawn`, because TensorFlow hangs after a fork: the function must be picklable, and workers start
    quickly only if its module does not import TensorFlow.

    Raises:
      OSError: a worker died; the message names the item with which a worker dies again if it processes only this item.
      Exception: the exception that the function raised for the first failing item.
    """
    if num_workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, context, _start_worker) as pool:
        waiting: Waiting[Item, Result] = collections.deque()
        try:
            yield from _in_order(pool, function, items, num_workers * _AHEAD, waiting)
        except BrokenProcessPool as error:
            culprit = _find_deadly(function, [item for item, _ in waiting])
            if culprit is None:
                reason = "a worker process died, perhaps because there was not enough memory; try again with fewer --num_workers"
            else:
                reason = f"{_name(culprit)}: the process that reads it dies; the file is damaged or too large for this machine"
            raise OSError(reason) from error


def _find_deadly(function: Callable[[Item], Result], items: Sequence[Item]) -> Item | None:
    """Returns the first item with which a separate process dies, or None."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, _start_worker) as pool:
        for item in items:
            try:
                pool.submit(function, item).result()
            except BrokenProcessPool:
                return item
            except Exception:  # It is raised when the item is processed in order.
                continue
    return None


def _name(item: object) -> str:
    """Returns how messages call an item: by its file, if it has one."""
    name = getattr(item, "path", None) or getattr(item, "image", None) or item
    return str(name)[:300]


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Like `map_in_processes`, for functions that spend their time outside of Python, such as decoding images."""
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        yield from _in_order(pool, function, items, num_workers * _AHEAD, collections.deque())


def _in_order(
    pool: concurrent.futures.Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    waiting: Waiting[Item, Result],
) -> Iterator[Result]:
    """Yields the results in order; `waiting` holds the items whose results have not been yielded."""
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= ahead:
                yield _next_result(waiting)
        while waiting:
            yield _next_result(waiting)
    finally:
        for _, future in waiting:
            future.cancel()


def _next_result(waiting: Waiting[Item, Result]) -> Result:
    result = waiting[0][1].result()
    waiting.popleft()
    return result
