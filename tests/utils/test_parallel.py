"""The ordered map over processes: order, errors, and which item a worker died of."""

import os
import signal

import pytest

from tpuseg.utils import parallel


def _square_or_die(value):
    if value == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return value * 2


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_order(num_workers):
    assert list(parallel.map_in_processes(_square_or_die, range(20), num_workers)) == [value * 2 for value in range(20)]


def test_the_item_that_kills_its_worker_is_named():
    with pytest.raises(OSError, match="^die: the process that reads it dies"):
        list(parallel.map_in_processes(_square_or_die, ["a", "b", "die", "c", "d"], 2))


def test_a_worker_that_dies_once_names_no_item(monkeypatch):
    monkeypatch.setattr(parallel, "_find_deadly", lambda function, items: None)
    with pytest.raises(OSError, match="a worker process died, perhaps because there was not enough memory"):
        list(parallel.map_in_processes(_square_or_die, ["a", "die"], 2))


def test_items_are_called_by_their_files():
    class Row:
        path = "folder/a.jpg"

    assert parallel._name(Row()) == "folder/a.jpg" and parallel._name("b.tfrecord") == "b.tfrecord"
