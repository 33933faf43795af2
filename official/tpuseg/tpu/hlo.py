"""Reads the TPU compiler's optimized program: what each operation costs, in loops and out of them.

The compiler writes its own estimate, in cycles, beside every fusion and convolution. What carries none (sorts, gathers, scatters,
copies, custom calls) is counted by the bytes that it moves through HBM, and sums over replicas by the wires between the chips, so
that nothing is free by being invisible. What moves is whole tiles: a row that a gather reads by its number comes with the others of
its tile, one transfer each, as the machine code that the compiler makes of it shows.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

from tpuseg.tpu import topology

# They name values, but move none.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id", "opt-barrier",
    "add-dependency", "domain",
}  # fmt: skip
# The second halves of what runs beside other work: the first half is counted.
_ENDS = ("-done", "-update")
# These read no more than they return, however large what they read from is.
_PARTIAL = ("slice", "dynamic-slice", "slice-start", "dynamic-slice-start")
# These read or change a table slice by slice, wherever the slices are.
_INDEXED = ("gather", "scatter")
# A core's own memory, of v2 and v3 (later ones have more): a table that it holds is read once.
_OWN_MEMORY = 16 << 20
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Where neither the compiler nor the loop's condition says how often it runs.
_UNKNOWN_TRIPS = 100
# From one chip to the next, the software's part included: an assumption, as Google publishes none.
_HOP_SECONDS = 1e-6
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"(\w+)\[([\d,<=]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*)$")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
      name: name of the result.
      opcode: kind of the operation, for example `fusion`.
      shape: shape of the result, as written.
      operands: names of what it reads.
      attributes: everything behind the operands.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str

    @functools.cached_property
    def op_name(self) -> str:
        """The TensorFlow operation that it comes from; empty if it is the compiler's own."""
        match = re.search(r'op_name="([^"]*)"', self.attributes)
        return match[1] if match else ""

    @property
    def result(self) -> str:
        """The shape of what it makes; of a copy that runs beside other work, without the source that it lists as well."""
        if not self.opcode.endswith("-start") or self.opcode.startswith(_COLLECTIVES):
            return self.shape
        parts = _parts(self.shape)
        # (made, source, context) of a copy; ((sources), made, context) of everything else.
        place = 0 if self.opcode == "copy-start" else 1
        return parts[place] if len(parts) > place else self.shape

    @property
    def estimated_cycles(self) -> int | None:
        """The compiler's estimate, if it wrote one."""
        match = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(match[1]) if match else None

    def called(self, attribute: str) -> str:
        """Returns the computation that an attribute names; empty if there is none."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return match[1] if match else ""


@dataclasses.dataclass(frozen=True)
class Operation:
    """What an instruction costs in one execution of the program.

    Attributes:
      name: name of the instruction.
      opcode: opcode of the instruction.
      op_name: the TensorFlow operation that it comes from.
      cycles: total cycles of all iterations.
      counted_by: `compiler`, `bytes` (through HBM) or `wires` (between chips).
      moved_bytes: bytes that one iteration moves through HBM.
      trips: rounds.
      loop: name of the innermost loop around it; empty outside of all.
    """

    name: str
    opcode: str
    op_name: str
    cycles: float
    counted_by: str
    moved_bytes: int
    trips: int
    loop: str = ""


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of the program.

    Attributes:
      name: name of the instruction.
      op_name: the TensorFlow operation that it comes from.
      trips: rounds that were counted.
      known_by: `compiler` and `condition` are exact; `bound` is the most that there can be, `given` the caller's, `default` a
        guess.
    """

    name: str
    op_name: str
    trips: int
    known_by: str


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The time of one execution, operation by operation.

    Attributes:
      operations: everything that costs something.
      loops: all loops, with the rounds that were counted.
    """

    operations: tuple[Operation, ...]
    loops: tuple[Loop, ...]

    @functools.cached_property
    def cycles(self) -> float:
        """Of one execution."""
        return sum(operation.cycles for operation in self.operations)

    def cycles_by(self, counted_by: str) -> float:
        """Returns the cycles that were counted in one way."""
        return sum(operation.cycles for operation in self.operations if operation.counted_by == counted_by)


def estimate(text: str, tpu: topology.Tpu, loop_trips: int | None = None) -> Estimate:
    """Returns the cost of a program.

    Args:
      text: the optimized program, as the compiler prints it.
      tpu: the TPU for which it was compiled.
      loop_trips: rounds of loops whose number depends on the data; their bound by default.
    """
    return _Reader(text, tpu, loop_trips).read()


def split(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Returns the computations of a program by name, and the name of the one where it starts."""
    computations: dict[str, list[Instruction]] = {}
    current, entry = "", ""
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header and "=" not in line.split("(")[0]:
            current = header[2]
            computations[current] = []
            entry = current if header[1] else entry
        elif current and " = " in line:
            instruction = _instruction(line)
            if instruction:
                computations[current].append(instruction)
    return computations, entry


def _instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if not match:
        return None
    rest = match[2]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opened = rest.find("(")
    if opened < 0:
        return None
    closed = _closing(rest, opened)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opened:closed]))
    # A constant's value stands where others have operands.
    value = rest[opened : closed + 1] if rest[:opened] == "constant" else ""
    return Instruction(match[1], rest[:opened], shape, operands, value + rest[closed + 1 :])


def _constant(instruction: Instruction) -> int | None:
    """Returns the value of an integer scalar that is a constant."""
    match = re.match(r"\((\d+)\)", instruction.attributes)
    return int(match[1]) if match and instruction.opcode == "constant" and re.match(r"[su]\d+\[\]", instruction.shape) else None


def _closing(text: str, start: int) -> int:
    """Returns where the bracket that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text)


def _parts(shape: str) -> list[str]:
    """Returns the elements of a tuple's shape; those of a tuple in it stay together."""
    parts, depth = [""], 0
    for letter in shape.removeprefix("(").removesuffix(")"):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def array_bytes(shape: str, *, in_hbm: bool = False) -> int:
    """Returns the bytes of a shape as it lies in memory, filled up to whole tiles; of all parts of a tuple.

    Args:
      shape: as the compiler writes it, for example `bf16[8,100]{1,0:T(8,128)(2,1)}`.
      in_hbm: leaves out what lies in the core's own memory.
    """
    total = 0
    for kind, sides, order, layout in _ARRAY.findall(shape):
        if in_hbm and re.search(r"S\([1-9]\d*\)", layout):
            continue
        total += _padded_elements(sides, order, layout) * _bits(kind) // 8
    return total


def _bits(kind: str) -> int:
    if kind in _BITS:
        return _BITS[kind]
    match = re.match(r"[a-z]+(\d+)", kind)
    return int(match[1]) if match else 0


def _padded_elements(sides: str, order: str, layout: str) -> int:
    sizes = [int(side.lstrip("<=")) for side in sides.split(",") if side]
    tile = re.match(r"T\(([\d,]+)\)", layout)
    if tile and order:
        minor_first = [int(place) for place in order.split(",")]
        for place, width in zip(minor_first, reversed([int(side) for side in tile[1].split(",")]), strict=False):
            sizes[place] = -(-sizes[place] // width) * width
    count = 1
    for size in sizes:
        count *= size
    return count


def _sides(shape: str) -> list[int]:
    return [int(side.lstrip("<=")) for side in _ARRAY.findall(shape)[0][1].split(",") if side]


def _numbers(instruction: Instruction, attribute: str) -> list[int]:
    match = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", instruction.attributes)
    return [int(number) for number in match[1].split(",") if number] if match else []


def _window(scatter: Instruction, updates: str) -> list[int]:
    """Returns the sides of what one update of a scatter changes, those of the table's axes along which it is a single place too."""
    sides = _sides(updates)
    window = [sides[axis] for axis in _numbers(scatter, "update_window_dims")]
    for axis in sorted(_numbers(scatter, "inserted_window_dims") + _numbers(scatter, "input_batching_dims")):
        window.insert(axis, 1)
    return window


def all_reduce_seconds(num_bytes: int, tpu: topology.Tpu) -> float:
    """Returns how long a sum over all replicas takes on the wires.

    Each chip sends and receives 2 * (n - 1) / n of the array, over all links that the sum keeps busy; each of the 2 * (side - 1)
    phases along a dimension waits for one hop. The array goes through HBM once in and once out. Other work at the same time,
    which the machine can do, is not taken into account.

    Args:
      num_bytes: size of the array that is summed.
      tpu: the slice, of `n` chips. Cores on one chip share its links, and add up in its HBM first.
    """
    chips = tpu.num_chips
    if tpu.num_replicas == 1:
        return 0.0
    through_memory = 2 * num_bytes / tpu.replica_memory_bandwidth
    if chips == 1:
        return through_memory
    hops = sum(2 * (side - 1) for side in tpu.shape)
    on_wires = 2 * (chips - 1) / chips * num_bytes / (tpu.num_links * tpu.chip.wire_bandwidth)
    return through_memory + on_wires + hops * _HOP_SECONDS


class _Reader:
    def __init__(self, text: str, tpu: topology.Tpu, loop_trips: int | None) -> None:
        self._computations, self._entry = split(text)
        self._shapes = {row.name: row.shape for rows in self._computations.values() for row in rows}
        self._tpu = tpu
        self._loop_trips = loop_trips
        self._loops: dict[str, Loop] = {}

    def read(self) -> Estimate:
        operations = tuple(self._operations(self._entry, 1))
        return Estimate(operations, tuple(self._loops.values()))

    def _operations(self, computation: str, trips: int, within: str = "") -> Iterator[Operation]:
        for instruction in self._computations.get(computation, []):
            if instruction.opcode == "while":
                loop = self._loop(instruction)
                for part in ("condition", "body"):
                    yield from self._operations(instruction.called(part), trips * loop.trips, loop.name)
            elif instruction.opcode == "conditional":
                yield from self._longest_branch(instruction, trips, within)
            elif instruction.opcode in ("call", "async-start"):
                yield from self._operations(instruction.called("to_apply") or instruction.called("calls"), trips, within)
            elif instruction.opcode not in _FREE and not instruction.opcode.endswith(_ENDS):
                yield dataclasses.replace(self._operation(instruction, trips), loop=within)

    def _operation(self, instruction: Instruction, trips: int) -> Operation:
        read = sum(self._bytes(name) for name in instruction.operands)
        result = instruction.result
        if instruction.opcode in _PARTIAL:
            read = min(read, array_bytes(result))
        moved = read + array_bytes(result, in_hbm=True)
        if instruction.estimated_cycles is None:
            indexed = [row for row in self._with_inside(instruction) if row.opcode in _INDEXED]
            moved = self._moved_by_index(indexed, result) if indexed else moved
        cycles, counted_by = self._cycles(instruction, moved, read)
        return Operation(instruction.name, instruction.opcode, instruction.op_name, cycles * trips, counted_by, moved, trips)

    def _bytes(self, name: str) -> int:
        """Returns the bytes of a value that lie in HBM."""
        return array_bytes(self._shapes.get(name, ""), in_hbm=True)

    def _moved_by_index(self, indexed: list[Instruction], result: str) -> int:
        """Returns the bytes of gathers and scatters, fused to one operation or alone."""
        scatters = [row for row in indexed if row.opcode == "scatter"]
        gathers = [row for row in indexed if row.opcode == "gather"]
        moved = 0 if scatters else array_bytes(result, in_hbm=True)
        moved += sum(self._bytes(row.operands[1]) for row in indexed)
        for row in gathers:
            moved += self._slices_bytes(row, row.shape, _numbers(row, "slice_sizes"))
        for row in scatters:
            updates = self._shapes.get(row.operands[2], "")
            # What changes is read and written.
            moved += 2 * self._slices_bytes(row, updates, _window(row, updates))
            # Updates that are put in order on the way are gathered, and counted there.
            moved += 0 if gathers else self._bytes(row.operands[2])
        return moved

    def _slices_bytes(self, row: Instruction, values: str, sizes: list[int]) -> int:
        """Returns the bytes of all slices of a table, in whole tiles; no more than the table's, if the core can keep it."""
        table = self._shapes.get(row.operands[0], "")
        kind, _, order, layout = _ARRAY.findall(table)[0]
        number = math.prod(_sides(values)) // max(math.prod(sizes), 1)
        slices = number * _padded_elements(",".join(map(str, sizes)), order, layout) * _bits(kind) // 8
        whole = array_bytes(table)
        return min(slices, whole) if row.opcode == "scatter" or whole <= _OWN_MEMORY else slices

    def _with_inside(self, instruction: Instruction) -> Iterator[Instruction]:
        """Yields an instruction and those that are fused to it."""
        yield instruction
        if instruction.opcode == "fusion":
            yield from self._inside(instruction.called("calls"))

    def _cycles(self, instruction: Instruction, moved: int, read: int) -> tuple[float, str]:
        clock = self._tpu.chip.clock
        if instruction.opcode.startswith(_COLLECTIVES):
            return all_reduce_seconds(read, self._tpu) * clock, "wires"
        if instruction.estimated_cycles is not None:
            return instruction.estimated_cycles, "compiler"
        return moved / self._tpu.replica_memory_bandwidth * clock, "bytes"

    def _longest_branch(self, instruction: Instruction, trips: int, within: str) -> list[Operation]:
        match = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
        names = match[1].replace("%", "").split(", ") if match else []
        names += [instruction.called(part) for part in ("true_computation", "false_computation")]
        branches = [list(self._operations(name, trips, within)) for name in names if name]
        return max(branches, key=lambda operations: sum(row.cycles for row in operations), default=[])

    def _loop(self, instruction: Instruction) -> Loop:
        if instruction.name not in self._loops:
            trips, known_by = self._trips(instruction)
            self._loops[instruction.name] = Loop(instruction.name, instruction.op_name, trips, known_by)
        return self._loops[instruction.name]

    def _trips(self, instruction: Instruction) -> tuple[int, str]:
        known = re.search(r'known_trip_count"?:\{"n":"(\d+)"', instruction.attributes)
        if known:
            return int(known[1]), "compiler"
        condition = list(self._inside(instruction.called("condition")))
        limits = [limit for row in condition if (limit := _constant(row)) is not None]
        # A comparison with a constant alone is a counted loop; a comparison and something else is one that may end before.
        others = [row for row in condition if row.opcode in ("and", "or", "not", "reduce")]
        comparisons = [row for row in condition if row.opcode == "compare"]
        if limits and len(comparisons) == 1 and not others:
            return max(limits), "condition"
        if self._loop_trips is not None:
            return self._loop_trips, "given"
        return (max(limits), "bound") if limits else (_UNKNOWN_TRIPS, "default")

    def _inside(self, computation: str) -> Iterator[Instruction]:
        """Yields the instructions of a computation and of the fusions in it."""
        for instruction in self._computations.get(computation, []):
            yield from self._with_inside(instruction)
