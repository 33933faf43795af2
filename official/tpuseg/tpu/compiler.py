"""The TPU's compiler as a function: a program in, memory, time and the optimized program out.

The compiler (libtpu, reached through jax) runs in a process of its own: it and TensorFlow bring two copies of the same
libraries, and what makes the one abort must not end the other.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile

from tpuseg.tpu import hlo, topology

# Another Python that has the packages, for environments that must stay as they are.
PYTHON_VARIABLE = "TPUSEG_LIBTPU_PYTHON"
_INSTALL = "pip install -r requirements.txt -r requirements-tpu-preflight.txt"
_PROCESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtpu_process.py")
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # No TPU is here: it must not look for one, nor keep other processes from compiling at the same time.
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# TensorFlow sets it to the libtpu beside it; the compiling process shall find its own.
_LIBRARY = "TPU_LIBRARY_PATH"
_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class CompilerError(ValueError):
    """The TPU's compiler did not compile the program, for a reason that is not its size."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """HBM of one replica, in bytes.

    Attributes:
      arguments: weights, optimizer's state and the batch.
      outputs: bytes of the outputs, of which `aliased` share memory with the arguments that they replace.
      aliased: see `outputs`.
      temporaries: what lives between two operations.
      code: the program itself.
      peak: peak of all of the above together.
      capacity: what the compiler gives to a program.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int
    capacity: int


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program.

    Attributes:
      tpu: the TPU for which it was compiled.
      compiler: versions of the compiler.
      compile_seconds: how long it took.
      fits: whether the program fits into the memory; if not, only `memory.peak` and `memory.capacity` are known.
      memory: memory of one replica.
      flops: floating-point operations of one replica, a multiplication and an addition counted as two.
      estimate: estimated time per operation; empty where the program does not fit.
      reason: the compiler's words where it does not fit.
      optimized: the program that the compiler made, as text.
    """

    tpu: topology.Tpu
    compiler: str
    compile_seconds: float
    fits: bool
    memory: Memory
    flops: float
    estimate: hlo.Estimate
    reason: str = ""
    optimized: str = dataclasses.field(default="", repr=False)

    @property
    def cycles(self) -> float:
        """Estimated cycles of one execution."""
        return self.estimate.cycles

    @property
    def seconds(self) -> float:
        """Estimated seconds of one execution."""
        return self.estimate.cycles / self.tpu.chip.clock

    @property
    def peak_flops_share(self) -> float:
        """Achieved share of the chip's peak."""
        return self.flops / self.seconds / self.tpu.replica_peak_flops if self.seconds else 0.0


def require_installed() -> None:
    """Raises ValueError with what to install if the TPU's compiler is not there."""
    if os.environ.get(PYTHON_VARIABLE):
        return
    missing = [name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} not installed, which bring the TPU's compiler; install with: {_INSTALL}")


def compile_program(program: bytes, tpu_type: str, loop_trips: int | None = None) -> Compiled:
    """Compiles a program for a TPU that is not there.

    Args:
      program: as `lowering.lower` makes it: one replica's.
      tpu_type: type of the TPU, for example `v3-8`.
      loop_trips: rounds that are counted for loops whose number depends on the data; their bound by default.

    Returns:
      What the compiler says; a program that is too large is an answer too (`fits` is False).

    Raises:
      CompilerError: it cannot be compiled; has the compiler's reason.
      ValueError: the compiler is not installed, or `tpu_type` is no TPU's.
    """
    require_installed()
    tpu = topology.parse(tpu_type)
    known, text = _run(program, tpu)
    if "error" in known:
        memory = _exceeded(known["error"], tpu)
        if memory is None:
            raise CompilerError(f"the TPU's compiler refused the program for {tpu.name}: {_reason(known['error'])}")
        nothing = hlo.Estimate((), ())
        return Compiled(tpu, known["compiler"], known["compile_seconds"], False, memory, 0.0, nothing, _reason(known["error"]))
    return Compiled(
        tpu=tpu,
        compiler=known["compiler"],
        compile_seconds=known["compile_seconds"],
        fits=True,
        memory=_memory(known["memory"], tpu),
        flops=known["flops"],
        estimate=hlo.estimate(text, tpu, loop_trips),
        optimized=text,
    )


def _run(program: bytes, tpu: topology.Tpu) -> tuple[dict, str]:
    """Returns what the compiling process answers, and the optimized program."""
    with tempfile.TemporaryDirectory(prefix="tpuseg-preflight-") as folder:
        paths = [os.path.join(folder, name) for name in ("program.hlo", "request.json", "result.json")]
        with open(paths[0], "wb") as file:
            file.write(program)
        request = {"topology": tpu.described, "topology_options": tpu.options, "num_replicas": tpu.num_replicas}
        with open(paths[1], "w") as file:
            json.dump(request, file)
        command = [os.environ.get(PYTHON_VARIABLE) or sys.executable, _PROCESS, *paths]
        inherited = {name: value for name, value in os.environ.items() if name != _LIBRARY}
        done = subprocess.run(
            command, env={**inherited, **_ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if not os.path.exists(paths[2]):
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            raise CompilerError(
                f"the TPU's compiler ended without an answer (exit code {done.returncode}): {lines[-1] if lines else ''}"
            )
        with open(paths[2]) as file, open(os.path.splitext(paths[2])[0] + ".txt") as text:
            return json.load(file), text.read()


def _memory(known: dict[str, int], tpu: topology.Tpu) -> Memory:
    outputs = known["output"] - known["alias"]
    peak = known["argument"] + outputs + known["temp"] + known["generated_code"]
    return Memory(
        arguments=known["argument"],
        outputs=known["output"],
        aliased=known["alias"],
        temporaries=known["temp"],
        code=known["generated_code"],
        peak=peak,
        capacity=tpu.program_memory_bytes,
    )


def _exceeded(message: str, tpu: topology.Tpu) -> Memory | None:
    """Returns what a message says of a program that is too large; None if it says something else."""
    if "RESOURCE_EXHAUSTED" not in message and "CompileTimeHbmOom" not in message and "Ran out of memory" not in message:
        return None
    if re.search(r"space=(?!hbm)\w", message):
        return None
    found = functools.partial(_bytes_in, message)
    used = found(r"Used (\S+) of \S+ hbm") or found(r"temporaries \((\S+?)\)") or found(r"size=(\d+)\) would exceed")
    capacity = found(r"Used \S+ of (\S+) hbm") or found(r"available HBM \((\S+?)\)") or tpu.program_memory_bytes
    if not used:
        return None  # Of another memory than HBM: that is not for a smaller batch to mend.
    return Memory(0, 0, 0, used, 0, used, capacity)


def _bytes_in(message: str, pattern: str) -> int:
    match = re.search(pattern, message)
    amount = re.fullmatch(r"([\d.]+)([BKMGT]?)", match[1].rstrip(".")) if match else None
    return round(float(amount[1]) * _UNITS[amount[2] or "B"]) if amount else 0


def _reason(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip() and "Python Code Location" not in line]
    return " ".join(lines[:2])[:600]
