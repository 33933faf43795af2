"""Reads the optimized program of the TPU's compiler, and estimates the time of each operation, inside and outside of loops.

The compiler writes its own estimate, in cycles, into every fusion and convolution. The time of other operations (sorts, gathers,
scatters, copies, custom calls) is estimated from the bytes that they move through HBM, and the time of sums over replicas from the
links between the chips, so that every operation is counted. Whole tiles are moved: a gather that reads a row by its index reads the
other rows of its tile too, with one transfer per row, as the generated machine code shows.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

from tpuseg.tpu import topology

# Operations that move no values.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id", "opt-barrier",
    "add-dependency", "domain",
}  # fmt: skip
# Ends of asynchronous operations, whose start is counted.
_ENDS = ("-done", "-update")
# Operations that read only as many bytes as they return, however large their operand is.
_PARTIAL = ("slice", "dynamic-slice", "slice-start", "dynamic-slice-start")
# Operations that read or change slices at any positions of a table.
_INDEXED = ("gather", "scatter")
# Bytes of a core's own memory in v2 and v3 (later chips have more): a table that fits into it is read once.
_OWN_MEMORY = 16 << 20
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Assumed iterations of a loop if neither the compiler nor the loop's condition determines their number.
_UNKNOWN_TRIPS = 100
# Latency from one chip to the next, including software: an assumption, because Google does not publish it.
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
      shape: shape of the result, in HLO's notation.
      operands: names of the operands.
      attributes: text after the operands.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str

    @functools.cached_property
    def op_name(self) -> str:
        """Name of the TensorFlow operation from which it was created; empty if the compiler added it."""
        match = re.search(r'op_name="([^"]*)"', self.attributes)
        return match[1] if match else ""

    @property
    def result(self) -> str:
        """Shape of its result; for the start of an asynchronous operation, without the sources that its shape contains too."""
        if not self.opcode.endswith("-start") or self.opcode.startswith(_COLLECTIVES):
            return self.shape
        parts = _split_tuple(self.shape)
        # The shape of a copy is (result, source, context), that of other operations ((sources), result, context).
        place = 0 if self.opcode == "copy-start" else 1
        return parts[place] if len(parts) > place else self.shape

    @property
    def estimated_cycles(self) -> int | None:
        """The compiler's estimate; None if it wrote none."""
        match = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(match[1]) if match else None

    def called(self, attribute: str) -> str:
        """Returns the name of the computation that an attribute refers to; empty if there is none."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return match[1] if match else ""


@dataclasses.dataclass(frozen=True)
class Operation:
    """Estimated time of an instruction in one execution of the program.

    Attributes:
      name: name of the instruction.
      opcode: opcode of the instruction.
      op_name: name of the TensorFlow operation from which it was created.
      cycles: total cycles of all iterations.
      counted_by: source of the estimate, `compiler`, `bytes` (moved through HBM) or `wires` (links between chips).
      moved_bytes: bytes that one iteration moves through HBM.
      trips: number of iterations.
      loop: name of the innermost loop that contains it; empty outside of loops.
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
      op_name: name of the TensorFlow operation from which it was created.
      trips: number of iterations that was counted.
      known_by: source of this number; `compiler` and `condition` are exact, `bound` is an upper bound, `given` comes from the
        caller, and `default` is an assumption.
    """

    name: str
    op_name: str
    trips: int
    known_by: str


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Estimated time of one execution for each operation.

    Attributes:
      operations: all operations that take time.
      loops: all loops with their numbers of iterations.
    """

    operations: tuple[Operation, ...]
    loops: tuple[Loop, ...]

    @functools.cached_property
    def cycles(self) -> float:
        """Total cycles of one execution."""
        return sum(operation.cycles for operation in self.operations)

    def cycles_by(self, counted_by: str) -> float:
        """Returns the total cycles of the operations whose estimate has this source; see `Operation.counted_by`."""
        return sum(operation.cycles for operation in self.operations if operation.counted_by == counted_by)


def estimate(text: str, tpu: topology.Tpu, loop_trips: int | None = None) -> Estimate:
    """Estimates the time of a program.

    Args:
      text: text of the optimized program.
      tpu: the TPU for which it was compiled.
      loop_trips: number of iterations that is assumed for loops whose number depends on the data; their upper bound by default.
    """
    return _Reader(text, tpu, loop_trips).read()


def split(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Splits a program into computations; returns them by name, and the name of the entry computation."""
    computations: dict[str, list[Instruction]] = {}
    current, entry = "", ""
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header and "=" not in line.split("(")[0]:
            current = header[2]
            computations[current] = []
            entry = current if header[1] else entry
        elif current and " = " in line:
            instruction = _parse_instruction(line)
            if instruction:
                computations[current].append(instruction)
    return computations, entry


def _parse_instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if not match:
        return None
    rest = match[2]
    end = _find_closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opened = rest.find("(")
    if opened < 0:
        return None
    closed = _find_closing(rest, opened)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opened:closed]))
    # The value of a constant is written in place of operands.
    value = rest[opened : closed + 1] if rest[:opened] == "constant" else ""
    return Instruction(match[1], rest[:opened], shape, operands, value + rest[closed + 1 :])


def _read_constant(instruction: Instruction) -> int | None:
    """Returns the value of a constant integer scalar; None for other instructions."""
    match = re.match(r"\((\d+)\)", instruction.attributes)
    return int(match[1]) if match and instruction.opcode == "constant" and re.match(r"[su]\d+\[\]", instruction.shape) else None


def _find_closing(text: str, start: int) -> int:
    """Returns the index of the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text)


def _split_tuple(shape: str) -> list[str]:
    """Splits the shape of a tuple into its elements; a nested tuple is one element."""
    parts, depth = [""], 0
    for letter in shape.removeprefix("(").removesuffix(")"):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def array_bytes(shape: str, *, in_hbm: bool = False) -> int:
    """Returns the number of bytes of a shape in memory, padded to whole tiles; for a tuple, the sum of all elements.

    Args:
      shape: shape in HLO's notation, for example `bf16[8,100]{1,0:T(8,128)(2,1)}`.
      in_hbm: whether arrays in the core's own memory are left out.
    """
    total = 0
    for kind, sides, order, layout in _ARRAY.findall(shape):
        if in_hbm and re.search(r"S\([1-9]\d*\)", layout):
            continue
        total += _count_padded_elements(sides, order, layout) * _count_bits(kind) // 8
    return total


def _count_bits(kind: str) -> int:
    if kind in _BITS:
        return _BITS[kind]
    match = re.match(r"[a-z]+(\d+)", kind)
    return int(match[1]) if match else 0


def _count_padded_elements(sides: str, order: str, layout: str) -> int:
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


def _parse_sides(shape: str) -> list[int]:
    return [int(side.lstrip("<=")) for side in _ARRAY.findall(shape)[0][1].split(",") if side]


def _parse_numbers(instruction: Instruction, attribute: str) -> list[int]:
    match = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", instruction.attributes)
    return [int(number) for number in match[1].split(",") if number] if match else []


def _find_window(scatter: Instruction, updates: str) -> list[int]:
    """Returns the sides of the slice that one update of a scatter changes, with 1 for each axis that the update does not have."""
    sides = _parse_sides(updates)
    window = [sides[axis] for axis in _parse_numbers(scatter, "update_window_dims")]
    for axis in sorted(_parse_numbers(scatter, "inserted_window_dims") + _parse_numbers(scatter, "input_batching_dims")):
        window.insert(axis, 1)
    return window


def all_reduce_seconds(num_bytes: int, tpu: topology.Tpu) -> float:
    """Returns the seconds that a sum over all replicas takes.

    Each chip sends and receives 2 * (n - 1) / n of the array over all links that take part in the sum; each of the 2 * (side - 1)
    phases along a dimension adds the latency of one hop. The array is read from HBM and written to it once. Overlap with other
    operations, which the hardware supports, is not taken into account.

    Args:
      num_bytes: size of the array that is summed, in bytes.
      tpu: the TPU with `n` chips. The cores of a chip share its links, and add their arrays in its HBM first.
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
        operations = tuple(self._estimate_computation(self._entry, 1))
        return Estimate(operations, tuple(self._loops.values()))

    def _estimate_computation(self, computation: str, trips: int, within: str = "") -> Iterator[Operation]:
        for instruction in self._computations.get(computation, []):
            if instruction.opcode == "while":
                loop = self._read_loop(instruction)
                for part in ("condition", "body"):
                    yield from self._estimate_computation(instruction.called(part), trips * loop.trips, loop.name)
            elif instruction.opcode == "conditional":
                yield from self._find_longest_branch(instruction, trips, within)
            elif instruction.opcode in ("call", "async-start"):
                yield from self._estimate_computation(instruction.called("to_apply") or instruction.called("calls"), trips, within)
            elif instruction.opcode not in _FREE and not instruction.opcode.endswith(_ENDS):
                yield dataclasses.replace(self._estimate_operation(instruction, trips), loop=within)

    def _estimate_operation(self, instruction: Instruction, trips: int) -> Operation:
        read = sum(self._count_bytes(name) for name in instruction.operands)
        result = instruction.result
        if instruction.opcode in _PARTIAL:
            read = min(read, array_bytes(result))
        moved = read + array_bytes(result, in_hbm=True)
        if instruction.estimated_cycles is None:
            indexed = [row for row in self._expand_fusion(instruction) if row.opcode in _INDEXED]
            moved = self._count_indexed_bytes(indexed, result) if indexed else moved
        cycles, counted_by = self._estimate_cycles(instruction, moved, read)
        return Operation(instruction.name, instruction.opcode, instruction.op_name, cycles * trips, counted_by, moved, trips)

    def _count_bytes(self, name: str) -> int:
        """Returns the number of bytes of a value in HBM."""
        return array_bytes(self._shapes.get(name, ""), in_hbm=True)

    def _count_indexed_bytes(self, indexed: list[Instruction], result: str) -> int:
        """Returns the number of bytes that gathers and scatters move, whether they are fused or not."""
        scatters = [row for row in indexed if row.opcode == "scatter"]
        gathers = [row for row in indexed if row.opcode == "gather"]
        moved = 0 if scatters else array_bytes(result, in_hbm=True)
        moved += sum(self._count_bytes(row.operands[1]) for row in indexed)
        for row in gathers:
            moved += self._count_slices_bytes(row, row.shape, _parse_numbers(row, "slice_sizes"))
        for row in scatters:
            updates = self._shapes.get(row.operands[2], "")
            # The slices that change are read and written.
            moved += 2 * self._count_slices_bytes(row, updates, _find_window(row, updates))
            # Updates that are reordered in the same fusion are gathered, and counted as a gather.
            moved += 0 if gathers else self._count_bytes(row.operands[2])
        return moved

    def _count_slices_bytes(self, row: Instruction, values: str, sizes: list[int]) -> int:
        """Returns the number of bytes of all slices of a table, in whole tiles; at most the table's if it fits into the core."""
        table = self._shapes.get(row.operands[0], "")
        kind, _, order, layout = _ARRAY.findall(table)[0]
        number = math.prod(_parse_sides(values)) // max(math.prod(sizes), 1)
        slices = number * _count_padded_elements(",".join(map(str, sizes)), order, layout) * _count_bits(kind) // 8
        whole = array_bytes(table)
        return min(slices, whole) if row.opcode == "scatter" or whole <= _OWN_MEMORY else slices

    def _expand_fusion(self, instruction: Instruction) -> Iterator[Instruction]:
        """Yields an instruction and the instructions of its fusion."""
        yield instruction
        if instruction.opcode == "fusion":
            yield from self._expand_computation(instruction.called("calls"))

    def _estimate_cycles(self, instruction: Instruction, moved: int, read: int) -> tuple[float, str]:
        clock = self._tpu.chip.clock
        if instruction.opcode.startswith(_COLLECTIVES):
            return all_reduce_seconds(read, self._tpu) * clock, "wires"
        if instruction.estimated_cycles is not None:
            return instruction.estimated_cycles, "compiler"
        return moved / self._tpu.replica_memory_bandwidth * clock, "bytes"

    def _find_longest_branch(self, instruction: Instruction, trips: int, within: str) -> list[Operation]:
        match = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
        names = match[1].replace("%", "").split(", ") if match else []
        names += [instruction.called(part) for part in ("true_computation", "false_computation")]
        branches = [list(self._estimate_computation(name, trips, within)) for name in names if name]
        return max(branches, key=lambda operations: sum(row.cycles for row in operations), default=[])

    def _read_loop(self, instruction: Instruction) -> Loop:
        if instruction.name not in self._loops:
            trips, known_by = self._count_trips(instruction)
            self._loops[instruction.name] = Loop(instruction.name, instruction.op_name, trips, known_by)
        return self._loops[instruction.name]

    def _count_trips(self, instruction: Instruction) -> tuple[int, str]:
        known = re.search(r'known_trip_count"?:\{"n":"(\d+)"', instruction.attributes)
        if known:
            return int(known[1]), "compiler"
        condition = list(self._expand_computation(instruction.called("condition")))
        limits = [limit for row in condition if (limit := _read_constant(row)) is not None]
        # A condition that is one comparison with a constant gives the exact number; with further conditions, it is an upper bound.
        others = [row for row in condition if row.opcode in ("and", "or", "not", "reduce")]
        comparisons = [row for row in condition if row.opcode == "compare"]
        if limits and len(comparisons) == 1 and not others:
            return max(limits), "condition"
        if self._loop_trips is not None:
            return self._loop_trips, "given"
        return (max(limits), "bound") if limits else (_UNKNOWN_TRIPS, "default")

    def _expand_computation(self, computation: str) -> Iterator[Instruction]:
        """Yields the instructions of a computation and of the fusions in it."""
        for instruction in self._computations.get(computation, []):
            yield from self._expand_fusion(instruction)
