"""Compiling a program with the TPU's compiler, which returns memory, time and the optimized program.

The compiler (libtpu, called through jax) runs in a separate process, because libtpu and TensorFlow contain two copies of the same
libraries, and because a crash of the compiler must not end this process.
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

# Path of another Python in which the packages are installed, for environments that must not be changed.
PYTHON_VARIABLE = "TPUSEG_LIBTPU_PYTHON"
_INSTALL = "pip install -r requirements.txt -r requirements-tpu-preflight.txt"
_PROCESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libtpu_process.py")
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # There is no TPU: libtpu must not search for one, and must not prevent other processes from compiling at the same time.
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# TensorFlow sets it to the libtpu in its own environment; the compiling process must find the one of its environment.
_LIBRARY = "TPU_LIBRARY_PATH"
_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class CompilerError(ValueError):
    """The TPU's compiler failed for another reason than the size of the program."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory (HBM) of one replica, in bytes.

    Attributes:
      arguments: bytes of the weights, the optimizer's state and the batch.
      outputs: bytes of the outputs, of which `aliased` share memory with the arguments that they replace.
      aliased: see `outputs`.
      temporaries: bytes of intermediate results.
      code: bytes of the program itself.
      peak: peak of all of the above together.
      capacity: memory that the compiler allows a program to use.
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
    """Result of compiling a program.

    Attributes:
      tpu: the TPU for which it was compiled.
      compiler: versions of the compiler.
      compile_seconds: duration of the compilation.
      fits: whether the program fits into the memory; if not, only `memory.peak` and `memory.capacity` are known.
      memory: memory of one replica.
      flops: floating-point operations of one replica, a multiplication and an addition counted as two.
      estimate: estimated time per operation; empty if the program does not fit.
      reason: the compiler's message if the program does not fit.
      optimized: text of the optimized program.
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
        """Fraction of the peak FLOP/s that is achieved."""
        return self.flops / self.seconds / self.tpu.replica_peak_flops if self.seconds else 0.0


def require_installed() -> None:
    """Raises ValueError with the command that installs the TPU's compiler if it is not installed."""
    if os.environ.get(PYTHON_VARIABLE):
        return
    missing = [name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"the TPU's compiler needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed; install"
            f" with: {_INSTALL}"
        )


def compile_program(program: bytes, tpu_type: str, loop_trips: int | None = None) -> Compiled:
    """Compiles a program for a TPU; the machine needs no TPU.

    Args:
      program: serialized HloModuleProto of one replica, as `lowering.lower` returns it.
      tpu_type: type of the TPU, for example `v3-8`.
      loop_trips: number of iterations that is assumed for loops whose number depends on the data; their upper bound by default.

    Returns:
      The result; for a program that is too large, `fits` is False.

    Raises:
      CompilerError: the program cannot be compiled; the message contains the compiler's reason.
      ValueError: the compiler is not installed, or there is no TPU of the type `tpu_type`.
    """
    require_installed()
    tpu = topology.parse(tpu_type)
    known, text = _run_compiler(program, tpu)
    if "error" in known:
        memory = _find_exceeded_memory(known["error"], tpu)
        if memory is None:
            raise CompilerError(f"the TPU's compiler cannot compile the program for {tpu.name}: {_shorten_reason(known['error'])}")
        nothing = hlo.Estimate((), ())
        reason = _shorten_reason(known["error"])
        return Compiled(tpu, known["compiler"], known["compile_seconds"], False, memory, 0.0, nothing, reason)
    return Compiled(
        tpu=tpu,
        compiler=known["compiler"],
        compile_seconds=known["compile_seconds"],
        fits=True,
        memory=_read_memory(known["memory"], tpu),
        flops=known["flops"],
        estimate=hlo.estimate(text, tpu, loop_trips),
        optimized=text,
    )


def _run_compiler(program: bytes, tpu: topology.Tpu) -> tuple[dict, str]:
    """Runs the compiling process, and returns its result and the optimized program."""
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
                f"the TPU's compiler ended without a result (exit code {done.returncode}): {lines[-1] if lines else ''}"
            )
        with open(paths[2]) as file, open(os.path.splitext(paths[2])[0] + ".txt") as text:
            return json.load(file), text.read()


def _read_memory(known: dict[str, int], tpu: topology.Tpu) -> Memory:
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


def _find_exceeded_memory(message: str, tpu: topology.Tpu) -> Memory | None:
    """Returns the memory that the compiler's message reports for a program that is too large; None for another message."""
    if "RESOURCE_EXHAUSTED" not in message and "CompileTimeHbmOom" not in message and "Ran out of memory" not in message:
        return None
    if re.search(r"space=(?!hbm)\w", message):
        return None
    found = functools.partial(_parse_bytes, message)
    used = found(r"Used (\S+) of \S+ hbm") or found(r"temporaries \((\S+?)\)") or found(r"size=(\d+)\) would exceed")
    capacity = found(r"Used \S+ of (\S+) hbm") or found(r"available HBM \((\S+?)\)") or tpu.program_memory_bytes
    if not used:
        return None  # Another memory than HBM is exhausted, which a smaller batch would not change.
    return Memory(0, 0, 0, used, 0, used, capacity)


def _parse_bytes(message: str, pattern: str) -> int:
    match = re.search(pattern, message)
    amount = re.fullmatch(r"([\d.]+)([BKMGT]?)", match[1].rstrip(".")) if match else None
    return round(float(amount[1]) * _UNITS[amount[2] or "B"]) if amount else 0


def _shorten_reason(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip() and "Python Code Location" not in line]
    return " ".join(lines[:2])[:600]
