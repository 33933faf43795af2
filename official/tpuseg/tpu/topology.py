"""The types of TPUs for a preflight: their chips, cores, memory and links.

The figures of a chip are Google's: cloud.google.com/tpu/docs/v2, v3, v4, v5e, v5p and v6e ("System architecture"). Clocks and link
bandwidths of v2 and v3 are from Jouppi et al., "A domain-specific supercomputer for training deep neural networks", CACM 63(7),
2020; those of v4 are from Jouppi et al., arXiv:2304.01433. Clocks of v5e, v5p and v6e are computed from the peak, which is
2 * width^2 * units * clock.
"""

import dataclasses
import math
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Chip:
    """One TPU chip.

    Attributes:
      name: name of the chip, with which the names of TPU types begin.
      cores: number of TensorCores.
      replicas: number of replicas of a program; less than `cores` if two cores act as one ("megacore").
      clock: cycles per second.
      peak_flops: peak FLOP/s of a chip in bfloat16.
      memory_bandwidth: bandwidth of a chip's HBM, bytes/s.
      program_memory: HBM that the compiler allows one replica's program to use, in GiB, as libtpu 0.0.21 reports it for a program
        that is too large. The rest of the chip's 16 (v2, v5e), 32 (v3, v4, v6e) or 96 GiB (v5p) is reserved.
      wire_bandwidth: bandwidth of one link in one direction, bytes/s.
      dimensions: number of dimensions (2 or 3) of the torus that links the chips.
      ring: smallest side of the torus for which the ends of a line are linked; in three dimensions, the ends are linked if all
        sides are multiples of four.
      counts_cores: whether the number in a type's name counts cores (v2 to v4, v5p) or chips.
    """

    name: str
    cores: int
    replicas: int
    clock: float
    peak_flops: float
    memory_bandwidth: float
    program_memory: float
    wire_bandwidth: float
    dimensions: int
    ring: int
    counts_cores: bool


_GIB = 1 << 30
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", 2, 2, 700e6, 46e12, 700e9, 7.48, 62e9, 2, 16, True),
        Chip("v3", 2, 2, 940e6, 123e12, 900e9, 15.48, 82e9, 2, 32, True),
        Chip("v4", 2, 1, 1050e6, 275e12, 1228e9, 30.75, 50e9, 3, 4, True),
        Chip("v5e", 1, 1, 1500e6, 197e12, 819e9, 15.75, 50e9, 2, 16, False),
        Chip("v5p", 2, 1, 1750e6, 459e12, 2765e9, 95.74, 100e9, 3, 4, True),
        Chip("v6e", 1, 1, 1750e6, 918e12, 1638e9, 31.25, 100e9, 2, 16, False),
    )
}
# Virtual cores of a host by its number of chips (Google's lists of TPU machines). Larger slices have hosts of four chips.
_HOST_CORES = {
    "v2": {4: 96},
    "v3": {4: 96},
    "v4": {4: 240},
    "v5e": {1: 24, 4: 112, 8: 224},
    "v5p": {4: 208},
    "v6e": {1: 44, 4: 180, 8: 180},
}
_LARGEST = {"v2": 256, "v3": 1024, "v4": 4096, "v5e": 256, "v5p": 6144, "v6e": 256}


@dataclasses.dataclass(frozen=True)
class Tpu:
    """A TPU, one host or a slice of a pod.

    Attributes:
      name: type of the TPU, for example `v3-32`.
      chip: kind of its chips.
      shape: number of chips along each dimension of the torus.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def num_chips(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    @property
    def num_replicas(self) -> int:
        """Number of replicas of a TPUStrategy."""
        return self.num_chips * self.chip.replicas

    @property
    def num_hosts(self) -> int:
        """Number of host machines."""
        return 1 if self.num_chips in _HOST_CORES[self.chip.name] else self.num_chips // 4

    @property
    def host_cores(self) -> int:
        """Number of virtual cores of each host machine."""
        return _HOST_CORES[self.chip.name][self.num_chips // self.num_hosts]

    @property
    def num_links(self) -> int:
        """Number of a chip's links that a sum over all chips uses: two along each dimension that is a ring, otherwise one."""
        if self.chip.dimensions == 3:
            closed = all(side % 4 == 0 for side in self.shape)
            return sum(2 if closed else 1 for side in self.shape if side > 1)
        return sum(2 if side >= self.chip.ring else 1 for side in self.shape if side > 1)

    @property
    def described(self) -> str:
        """Name of the topology for the compiler, for example `v3:4x4x1`."""
        sides = self.shape if self.chip.name in ("v5e", "v6e") else (*self.shape, 1)[:3]
        return f"{self.chip.name}:{'x'.join(map(str, sides))}"

    @property
    def options(self) -> dict[str, str]:
        """Further arguments of the topology for the compiler."""
        return {"chip_config_name": "megacore"} if self.chip.name == "v4" else {}

    @property
    def replica_peak_flops(self) -> float:
        """Peak of one replica's share of a chip, bfloat16 FLOP/s."""
        return self.chip.peak_flops / self.chip.replicas

    @property
    def replica_memory_bandwidth(self) -> float:
        """One replica's share of a chip's HBM bandwidth, bytes/s."""
        return self.chip.memory_bandwidth / self.chip.replicas

    @property
    def program_memory_bytes(self) -> int:
        """HBM that one replica's program can use, in bytes."""
        return round(self.chip.program_memory * _GIB)


def parse(tpu_type: str) -> Tpu:
    """Returns the TPU of a type (`v3-8`, `v5e-16`, `v5litepod-8`).

    Raises:
      ValueError: there is no such type; the message lists the existing ones.
    """
    match = re.fullmatch(r"(v\w+)-(\d+)", tpu_type.strip().lower())
    name = {"v5litepod": "v5e", "v6": "v6e"}.get(match[1], match[1]) if match else ""
    if match is None or name not in CHIPS:
        raise ValueError(
            f"--tpu_type={tpu_type} is not a type of TPU; write one of {', '.join(CHIPS)}, a dash and a size: v3-8, v3-32, v5e-8"
        )
    chip = CHIPS[name]
    chips = int(match[2]) // (chip.cores if chip.counts_cores else 1)
    sizes = _list_shapes(chip)
    if int(match[2]) != chips * (chip.cores if chip.counts_cores else 1) or chips not in sizes:
        known = ", ".join(f"{name}-{count * (chip.cores if chip.counts_cores else 1)}" for count in sizes)
        raise ValueError(f"--tpu_type={tpu_type} does not exist; the types of {name} are {known}")
    return Tpu(f"{name}-{match[2]}", chip, sizes[chips])


def require_same_chips(tpus: Sequence[Tpu]) -> None:
    """Raises ValueError unless all TPUs have the same kind of chip."""
    for tpu in tpus:
        if tpu.chip != tpus[0].chip:
            raise ValueError(f"--scaling compares slices of one kind of TPU, not {tpus[0].name} and {tpu.name}")


def _list_shapes(chip: Chip) -> dict[int, tuple[int, ...]]:
    """Returns the shapes of all existing slices by their number of chips; a side is at most twice as long as another."""
    if chip.dimensions == 3:
        shape = [2, 2, 1]
        shapes: dict[int, tuple[int, ...]] = {4: (2, 2, 1)}
        while math.prod(shape) * 2 <= _LARGEST[chip.name]:
            # The last of the smallest sides is doubled, as in Google's list: 2x2x2, 2x2x4, 2x4x4, 4x4x4.
            if shape == [2, 2, 1]:
                place = 2
            elif shape[2] == shape[0]:
                place = 2
            else:
                place = 1 if shape[1] < shape[2] else 0
            shape[place] *= 2
            shapes[math.prod(shape)] = tuple(shape)
        return shapes
    small = {1: (1, 1), 4: (2, 2), 8: (2, 4)} if not chip.counts_cores else {4: (2, 2)}
    large: dict[int, tuple[int, ...]] = {}
    rows, columns = 4, 4
    while rows * columns <= _LARGEST[chip.name]:
        large[rows * columns] = (rows, columns)
        rows, columns = (rows, columns * 2) if rows == columns else (rows * 2, columns)
    return {**small, **large}
