"""Runs the instructions of a pickle that build plain data, and refuses all others.

A pickle is a program for a machine with a stack. Python's own machine calls whatever a program names and sets the state of whatever
it made; checks from outside come too late for both. This one knows the instructions that files of weights need, keeps the values
that `pickle_values` describes, and does a bounded amount of work. `pickletools` of the standard library decodes the instructions.
"""

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from tpuseg.weights import pickle_values
from tpuseg.weights.pickle_values import Array, Budget, Name, NumpyType, Storage

# The largest file of a model zoo has about 20,000; this many take a second or two and some ten megabytes.
_MAX_INSTRUCTIONS = 500_000

_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_NOTHING = {"PROTO", "FRAME", "STOP"}


def run(file: BinaryIO, storages: dict[str, Storage], budget: Budget) -> Any:
    """Runs one pickle.

    Args:
      file: at the pickle's beginning; it is left behind the pickle's end.
      storages: storages by key; those that the pickle refers to are added.
      budget: memory that may be used.

    Returns:
      What was pickled: numbers, text, bytes, lists, tuples, dictionaries with keys of text, and stand-ins.

    Raises:
      pickle.UnpicklingError: it asks for anything else.
      ValueError: the pickle is damaged, or has too many instructions. A damaged one also raises IndexError, KeyError and TypeError.
    """
    machine = _Machine(storages, budget)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count >= _MAX_INSTRUCTIONS:
            raise ValueError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions; no file of weights does")
        machine.step(opcode.name, argument)
    return machine.pop()


class _Machine:
    """The stack, the marks in it, and the values that the program remembers."""

    def __init__(self, storages: dict[str, Storage], budget: Budget) -> None:
        self._storages = storages
        self._budget = budget
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        """Returns the top of the stack, and takes it off."""
        return self._stack.pop()

    def step(self, name: str, argument: object) -> None:
        """Runs one instruction."""
        if name in _CONSTANTS:
            self._stack.append(argument)
        elif name not in _NOTHING:
            instruction = _INSTRUCTIONS.get(name)
            if instruction is None:
                raise pickle.UnpicklingError(f"it has the pickle instruction {name}, which no file of weights needs")
            instruction(self, argument)

    def push(self, value: object) -> None:
        """Puts a value on the stack."""
        self._stack.append(value)

    def _top(self, kind: type) -> Any:
        """Returns the top of the stack, which must be of one of the plain types."""
        if type(self._stack[-1]) is not kind:
            raise pickle.UnpicklingError(f"it adds to something that is not a {kind.__name__}")
        return self._stack[-1]

    def mark(self, _: object) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop_mark(self, _: object = None) -> list[Any]:
        """Returns what is on the stack above the last mark, and takes it off."""
        items, self._stack = self._stack, self._marked.pop()
        return items

    def duplicate(self, _: object) -> None:
        self._stack.append(self._stack[-1])

    def make_tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise IndexError("its stack is empty")
        self._stack[-size:] = [tuple(self._stack[-size:])]

    def append(self, _: object) -> None:
        value = self.pop()
        self._top(list).append(value)

    def extend(self, _: object) -> None:
        items = self.pop_mark()
        self._top(list).extend(items)

    def set_item(self, _: object) -> None:
        value, key = self.pop(), self.pop()
        self._top(dict)[pickle_values.dictionary_key(key)] = value

    def set_items(self, _: object) -> None:
        items = self.pop_mark()
        self._top(dict).update(_pairs(items))

    def remember(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def find(self, argument: str) -> None:
        self.push(pickle_values.find_name(*argument.split(" ", 1)))

    def find_from_stack(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        self.push(pickle_values.find_name(module, name))

    def call(self, _: object) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or name.call is None or type(arguments) is not tuple:
            what = name.text if isinstance(name, Name) else "something that is not a function"
            raise pickle.UnpicklingError(f"it calls {what}")
        self.push(name.call(self._budget, *arguments))

    def set_state(self, _: object) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, Array | NumpyType):
            target.set_state(state, self._budget)
        elif type(target) is not dict:  # PyTorch gives dictionaries attributes; they hold no weights.
            raise pickle.UnpicklingError("it sets the state of something that is not an array")

    def refer(self, _: object) -> None:
        self.push(pickle_values.typed_storage(self.pop(), self._storages))


def _pairs(items: list[Any]) -> dict[str, Any]:
    if len(items) % 2:
        raise ValueError("it has a dictionary with a key that has no value")
    return {pickle_values.dictionary_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push([]),  # No instruction tests for membership.
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "FROZENSET": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "DICT": lambda machine, _: machine.push(_pairs(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "ADDITEMS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": _Machine.find,
    "STACK_GLOBAL": _Machine.find_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.set_state,
    "BINPERSID": _Machine.refer,
}
