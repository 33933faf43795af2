"""Estimates an experiment on a TPU without having one: whether it fits, how long a step takes, and what the run costs.

python official/preflight.py --experiment=maskrcnn_coco --tpu_type=v3-8
python official/preflight.py --experiment=deeplab_voc --tpu_type=v5e-8 --price_per_chip_hour=1.2 --json=preflight.json
python official/preflight.py --experiment=maskrcnn_coco --tpu_type=v3-8,v3-32,v3-128 --scaling
python official/preflight.py --experiment=maskrcnn_coco --tpu_type=v3-8 --mode=eval

Needs requirements.txt and requirements-tpu-preflight.txt. Exit code 1 if it does not fit, or has operations that a TPU cannot run.
"""

import dataclasses

from absl import flags

from tpuseg import cli
from tpuseg.utils.messages import format_count

_TPU_TYPE = flags.DEFINE_list("tpu_type", None, "Type of TPU: v3-8, v3-32, v4-8, v5e-8, v5p-8, v6e-8; several with commas.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "The step: train step or evaluation step.")
_JSON = flags.DEFINE_string("json", "", "JSON file for all results; a list if there are several types.")
_TOP = flags.DEFINE_integer("top", 20, "Number of layers that are listed.", lower_bound=1)
_FIND_BATCH_SIZE = flags.DEFINE_bool("find_batch_size", False, "Finds the largest batch that fits; compiles several times.")
_PRICE = flags.DEFINE_float("price_per_chip_hour", None, "Price of a chip per hour, for the cost.", lower_bound=0)
_SCALING = flags.DEFINE_bool(
    "scaling", False, "Compares slices of one kind of TPU with the first type's batch per replica; compiles once."
)
_LOOP_TRIPS = flags.DEFINE_integer(
    "loop_trips", None, "Iterations of loops that depend on the data; by default the maximum.", lower_bound=1
)
cli.define_experiment_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> int:
    """Estimates the experiment given by the flags on each type of TPU."""
    cli.refuse_arguments(argv)
    cli.require(tpu_type=",".join(_TPU_TYPE.value or []))
    from tpuseg.tpu import compiler, topology

    tpus = [topology.parse(name) for name in _TPU_TYPE.value]
    if _SCALING.value:
        topology.require_same_chips(tpus)
    compiler.require_installed()
    from tpuseg.io import files
    from tpuseg.tpu import preflight, report

    experiment = cli.load_experiment()
    for note in experiment.notes:
        print(note, flush=True)

    def check(tpu: topology.Tpu, batch_size: int | None = None) -> preflight.Check:
        size = f", {format_count(batch_size, 'image')} a replica" if batch_size else ""
        print(f"compiling {experiment.name} for a {tpu.name}{size}; this takes minutes", flush=True)
        return preflight.check(experiment, tpu, _MODE.value, _LOOP_TRIPS.value, batch_size)

    checks = []
    for tpu in tpus[:1] if _SCALING.value else tpus:
        found = check(tpu)
        if _FIND_BATCH_SIZE.value and found.compiled is not None:
            largest, too_large = preflight.find_batch_size(found, lambda size, tpu=tpu: check(tpu, size))
            found = dataclasses.replace(found, largest_batch_size=largest, too_large_batch_size=too_large)
        checks.append(found)
        print("\n" + report.as_text(found, _TOP.value, _PRICE.value) + "\n", flush=True)
    if _SCALING.value and all(found.fits for found in checks):
        checks += preflight.on_larger_slices(checks[0], tpus[1:], _LOOP_TRIPS.value)
        print(report.scaling_table(checks, _PRICE.value), flush=True)
    if _JSON.value:
        rows = [report.as_json(found, _PRICE.value) for found in checks]
        files.write_json(_JSON.value, rows[0] if len(rows) == 1 else rows)
    return 0 if all(found.fits for found in checks) else 1


if __name__ == "__main__":
    cli.run(main)
