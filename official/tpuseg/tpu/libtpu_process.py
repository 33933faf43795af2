"""Compiles a program with the TPU's compiler, in a separate process without TensorFlow.

This is the only file that uses private functions of jax 0.6.2 (see requirements-tpu-preflight.txt; 0.10.2 has them too, for newer
compilers): jax loads the compiler from libtpu, converts the program and passes it to the compiler. The file must not import other
modules of this package, because they import TensorFlow.

python libtpu_process.py PROGRAM REQUEST RESULT: PROGRAM is a serialized HloModuleProto, REQUEST a JSON file with the arguments of
`compile_file`, and RESULT the JSON file to write. The optimized program is written to a file with the name of RESULT and the
extension `.txt`.
"""

import json
import os
import sys
import time
from typing import Any

# Python puts this file's folder first, whose modules `compiler` and `report` would hide other packages' modules of these names.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]


def compile_file(path: str, topology: str, topology_options: dict[str, Any], num_replicas: int) -> tuple[dict[str, Any], str]:
    """Compiles a program.

    Args:
      path: path of a serialized HloModuleProto.
      topology: topology of the TPU, for example `v3:2x2x1`.
      topology_options: further arguments of the topology.
      num_replicas: number of replicas of the program.

    Returns:
      A dictionary for JSON that describes the executable, and the text of its HLO. If compiling failed, the dictionary contains
      `error` and the text is empty.
    """
    import jax
    import numpy as np
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax.experimental import topologies
    from jaxlib import _jax

    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **topology_options).devices[:num_replicas]
    client = devices[0].client
    version = f"libtpu {_find_package_version('libtpu')} ({' '.join(client.platform_version.split())}), jax {jax.__version__}"
    assignment = np.arange(num_replicas).reshape(num_replicas, 1)
    options = compiler.get_compile_options(num_replicas=num_replicas, num_partitions=1, device_assignment=assignment)
    with open(path, "rb") as file:
        program = file.read()
    started = time.monotonic()
    try:
        with mlir.make_ir_context():
            module = _parse(_jax.mlir.hlo_to_stablehlo(program))
            # jax 0.10 expects the module itself, 0.6 its bytes.
            passed = mlir.module_to_bytecode(module) if jax.__version__.startswith("0.6.") else module
            executable = client.compile(passed, _jax.DeviceList(tuple(devices)), options)
    except Exception as error:  # The compiler raises errors of several classes; the caller needs their messages.
        return {"error": str(error), "compiler": version, "compile_seconds": time.monotonic() - started}, ""
    memory, costs = executable.get_compiled_memory_stats(), executable.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    known = {
        "compiler": version,
        "compile_seconds": time.monotonic() - started,
        "flops": float(costs.get("flops", 0.0)),
        "memory": {
            name: getattr(memory, f"{name}_size_in_bytes") for name in ("argument", "output", "alias", "temp", "generated_code")
        },
    }
    return known, executable.hlo_modules()[0].to_string()


def _parse(stablehlo: bytes) -> Any:
    """Returns the module without `mhlo.copy`, an operation that has no effect and that the compiler does not accept."""
    from jaxlib.mlir import ir

    module = ir.Module.parse(stablehlo)
    copies = []

    def visit(operation: Any) -> Any:
        if operation.name == "mhlo.copy":
            operation.results[0].replace_all_uses_with(operation.operands[0])
            copies.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for copy in copies:
        copy.erase()
    return module


def _find_package_version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def main(path: str, request: str, result: str) -> None:
    """Compiles a program with the arguments in the request, and writes the result.

    Args:
      path: path of the program.
      request: path of the JSON file with the arguments.
      result: path of the JSON file to write.
    """
    with open(request) as file:
        known, text = compile_file(path, **json.load(file))
    with open(os.path.splitext(result)[0] + ".txt", "w") as file:
        file.write(text)
    with open(result, "w") as file:
        json.dump(known, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
