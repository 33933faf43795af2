"""Reports of a preflight as text and as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tpuseg.tpu import hlo, layers
from tpuseg.tpu.preflight import Check
from tpuseg.utils.messages import format_count

NOTE = (
    "These are the compiler's estimates of the program on the chip, without input (infeed) and, but for the sums over replicas,"
    " without network; nothing ran on a TPU."
)
_SUMS = (
    "sums over replicas are all-reduces in the compiled program; their time is a formula: 2(n-1)/n of the bytes over the links,"
    " through HBM once in and out, 1 us a hop"
)
_COUNTED = {"compiler": "the compiler's cost model", "bytes": "bytes over the memory's bandwidth", "wires": "bytes over the wires"}


def as_json(check: Check, price_per_chip_hour: float | None = None) -> dict[str, Any]:
    """Returns the results of a check as a dictionary for JSON; unknown values are None."""
    compiled = check.compiled
    fits = check.fits
    memory = compiled.memory if compiled else None
    return {
        "experiment": check.experiment,
        "mode": check.mode,
        "tpu_type": check.tpu.name,
        "num_chips": check.tpu.num_chips,
        "num_replicas": check.tpu.num_replicas,
        "num_hosts": check.tpu.num_hosts,
        "host_cores": check.tpu.host_cores,
        "replica_batch_size": check.replica_batch_size,
        "global_batch_size": check.global_batch_size,
        "num_parameters": check.num_parameters,
        "fits": check.fits,
        "hbm_bytes": memory.peak if memory else None,
        "hbm_capacity_bytes": memory.capacity if memory else check.tpu.program_memory_bytes,
        "hbm": dataclasses.asdict(memory) if memory and fits else None,
        "largest_replica_batch_size": check.largest_batch_size,
        "too_large_replica_batch_size": check.too_large_batch_size,
        "flops": compiled.flops if compiled and fits else None,
        "estimated_cycles": compiled.cycles if compiled and fits else None,
        "estimated_step_seconds": check.step_seconds,
        "counted_by": {name: compiled.estimate.cycles_by(name) for name in _COUNTED} if compiled and fits else None,
        "images_per_second": check.images_per_second,
        "peak_flops_share": compiled.peak_flops_share if compiled and fits else None,
        "steps": check.steps or None,
        "hours": check.hours,
        "cost": cost(check, price_per_chip_hour),
        "compiler": compiled.compiler if compiled else None,
        "compile_seconds": compiled.compile_seconds if compiled else None,
        "reason": compiled.reason if compiled else "",
        "unsupported_ops": [dataclasses.asdict(op) for op in check.unsupported],
        "loops": [dataclasses.asdict(loop) for loop in compiled.estimate.loops] if compiled else [],
        "layers": [
            {"name": row.name, "cycles": row.cycles, "pass": row.direction} for row in layers.by_layer(compiled.estimate.operations)
        ]
        if compiled
        else [],
        "not_estimated": [_describe_operation(row) for row in _list_not_estimated(compiled.estimate)] if compiled else [],
        "note": NOTE,
    }


def cost(check: Check, price_per_chip_hour: float | None) -> float | None:
    """Returns the cost of all steps, in the currency of the price; None if price or hours are unknown."""
    if price_per_chip_hour is None or check.hours is None:
        return None
    return check.hours * check.tpu.num_chips * price_per_chip_hour


def _list_not_estimated(estimate: hlo.Estimate) -> list[hlo.Operation]:
    """Returns the operations without an estimate of the compiler except sums over replicas, those with the most cycles first."""
    return sorted((row for row in estimate.operations if row.counted_by == "bytes"), key=lambda row: -row.cycles)


def _describe_operation(row: hlo.Operation) -> dict[str, Any]:
    return {
        "name": row.name,
        "opcode": row.opcode,
        "op_name": row.op_name,
        "cycles": row.cycles,
        "bytes": row.moved_bytes,
        "trips": row.trips,
    }


def as_text(check: Check, top: int, price_per_chip_hour: float | None = None) -> str:
    """Returns the results of a check as lines of text.

    Args:
      check: results of the check.
      top: number of layers that are listed; a quarter of it is the number of operations without an estimate.
      price_per_chip_hour: price of a chip for one hour; if it is given, the cost is added.
    """
    replicas = check.tpu.num_replicas
    lines = [
        f"{check.experiment}, {check.mode} step on a {check.tpu.name}: {format_count(check.tpu.num_chips, 'chip')},"
        f" {format_count(replicas, 'replica')} with a batch of {check.replica_batch_size} each ({check.global_batch_size} in all)"
    ]
    if check.unsupported:
        lines += ["  a TPU cannot run:"]
        lines += [f"    {op.op} `{op.name}`{f', made at {op.source}' if op.source else ''}" for op in check.unsupported]
        return "\n".join(lines)
    assert check.compiled is not None
    lines += _describe_memory(check)
    if check.fits:
        lines += [
            *_describe_time(check),
            *_describe_run(check, price_per_chip_hour),
            *_describe_layers(check, top),
            *_describe_other_operations(check, top),
        ]
    lines += [f"  compiler  {check.compiled.compiler}; compiled in {check.compiled.compile_seconds:.0f} s", f"  {NOTE}"]
    return "\n".join(lines)


def _format_gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def _describe_memory(check: Check) -> list[str]:
    assert check.compiled is not None
    memory = check.compiled.memory
    if check.fits:
        lines = [
            f"  memory    fits: {_format_gb(memory.peak)} of the {_format_gb(memory.capacity)} HBM of a replica"
            f" (arguments {_format_gb(memory.arguments)}, temporaries {_format_gb(memory.temporaries)},"
            f" program {_format_gb(memory.code)})"
        ]
    else:
        lines = [
            f"  memory    DOES NOT FIT: needs {_format_gb(memory.peak)}, a replica has {_format_gb(memory.capacity)}:"
            f" {_format_gb(max(memory.peak - memory.capacity, 0))} too much",
            f"            {check.compiled.reason}",
        ]
    if check.largest_batch_size:
        size = check.largest_batch_size
        too_large = f"; {check.too_large_batch_size} a replica do not fit" if check.too_large_batch_size else ""
        lines.append(
            f"            the largest batch found to fit: {size} a replica, {size * check.tpu.num_replicas} in all{too_large}"
        )
    elif check.largest_batch_size == 0:
        lines.append("            not even one image a replica fits")
    return lines


def _describe_time(check: Check) -> list[str]:
    compiled = check.compiled
    assert compiled is not None and check.step_seconds is not None and check.images_per_second is not None
    clock = check.tpu.chip.clock
    parts = [f"{compiled.estimate.cycles_by(by) / clock * 1e3:.1f} ms by {what}" for by, what in _COUNTED.items()]
    return [
        f"  step      {check.step_seconds * 1e3:.1f} ms estimated, {compiled.cycles / 1e6:.1f} M cycles: {', '.join(parts)}",
        f"  speed     {check.images_per_second:.0f} images/s; {compiled.flops / 1e12:.3g} TFLOP a replica and step are"
        f" {100 * compiled.peak_flops_share:.1f} % of its peak",
    ]


def _describe_run(check: Check, price: float | None) -> list[str]:
    if check.hours is None:
        return []
    total = cost(check, price)
    paid = "" if total is None else f"; cost {total:.2f} at {price:g} a chip and hour"
    return [f"  run       {check.hours:.2f} h for {check.steps} steps, without evaluations and checkpoints{paid}"]


def _describe_layers(check: Check, top: int) -> list[str]:
    assert check.compiled is not None
    rows = layers.by_layer(check.compiled.estimate.operations)
    total = check.compiled.cycles
    lines = [f"  the {min(top, len(rows))} most expensive of {len(rows)} layers and passes:"]
    for row in rows[:top]:
        lines.append(f"    {row.cycles / 1e6:8.2f} M {100 * row.cycles / total:5.1f} %  {row.direction:8}  {row.name}")
    return lines


def _describe_other_operations(check: Check, top: int) -> list[str]:
    assert check.compiled is not None
    estimate = check.compiled.estimate
    rows = _list_not_estimated(estimate)
    lines = []
    if rows:
        operations = format_count(len(rows), "operation")
        lines.append(f"  without an estimate of the compiler's, counted by bytes: {operations}, the largest first")
        for row in rows[: max(top // 4, 1)]:
            lines.append(f"    {row.cycles / 1e6:8.2f} M  {row.opcode:12}  {row.op_name or row.name}")
    lines += _describe_loops(estimate)
    if check.tpu.num_replicas > 1:
        lines.append(f"  {_SUMS}")
    return lines


def _describe_loops(estimate: hlo.Estimate) -> list[str]:
    """Returns lines about the loops whose number of iterations depends on the data, one for those with the same number."""
    alike: dict[tuple[int, str], list[hlo.Loop]] = {}
    for loop in estimate.loops:
        if loop.known_by not in ("compiler", "condition"):
            alike.setdefault((loop.trips, loop.known_by), []).append(loop)
    lines = []
    for (trips, known_by), loops in alike.items():
        why = {"bound": "the most that there can be", "given": "as given", "default": "an assumption"}[known_by]
        names = {loop.name for loop in loops}
        cycles = sum(row.cycles for row in estimate.operations if row.loop in names)
        more = f" and {len(loops) - 1} more" if len(loops) > 1 else ""
        lines.append(
            f"  loops whose rounds depend on the data, counted {format_count(trips, 'time')} each, {why} ({cycles / 1e6:.2f} M"
            f" cycles in all): {loops[0].op_name or loops[0].name}{more}"
        )
    return lines


def scaling_table(checks: Sequence[Check], price_per_chip_hour: float | None = None) -> str:
    """Returns a Markdown table that compares slices of a pod.

    Args:
      checks: results for each slice; efficiency is the images/s per replica divided by those of the first slice.
      price_per_chip_hour: price of a chip for one hour; if it is given, the cost is added.
    """
    first = checks[0]
    lines = [
        f"{first.experiment}, {first.mode} step, a batch of {first.replica_batch_size} a replica everywhere:",
        "",
        "| TPU | batch | step | of it sums over replicas | images/s | efficiency | steps | hours |"
        + (" cost |" if price_per_chip_hour is not None else ""),
        "| --- | --- | --- | --- | --- | --- | --- | --- |" + (" --- |" if price_per_chip_hour is not None else ""),
    ]
    for row in checks:
        assert row.compiled is not None and row.images_per_second is not None and first.images_per_second is not None
        efficiency = row.images_per_second / row.tpu.num_replicas / (first.images_per_second / first.tpu.num_replicas)
        sums = row.compiled.estimate.cycles_by("wires") / row.tpu.chip.clock
        paid = "" if price_per_chip_hour is None else f" {cost(row, price_per_chip_hour) or 0:.2f} |"
        lines.append(
            f"| {row.tpu.name} | {row.global_batch_size} | {(row.step_seconds or 0) * 1e3:.1f} ms | {sums * 1e3:.1f} ms |"
            f" {row.images_per_second:.0f} | {100 * efficiency:.1f} % | {row.steps or '-'} |"
            f" {'-' if row.hours is None else f'{row.hours:.2f}'} |{paid}"
        )
    return "\n".join([*lines, "", f"The replica's program was compiled once, for the {first.tpu.name}; {_SUMS}."])
