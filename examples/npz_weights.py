"""A source of weights of another package: a NumPy archive whose arrays have the names of this project's variables.

python official/train.py --experiment=deeplab_shapes --import_module=examples.npz_weights \
  --params_override=task.init_checkpoint=weights.npz

A real source translates the names and layouts of its own library here, as `tpuseg/weights/torchvision.py` does.
"""

import zipfile

import numpy as np

from tpuseg import registry
from tpuseg.weights.external import ExternalWeights
from tpuseg.weights.source import WeightSource


@registry.weight_sources.register("npz")
class NpzWeights(WeightSource):
    """Archives with arrays such as `backbone/stem/conv/kernel`."""

    endings = (".npz",)

    def read(self, path: str) -> ExternalWeights:
        """Reads an archive; see `WeightSource`."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            raise ValueError(f"{path} is no NumPy archive of arrays ({error}); write it with numpy.savez") from error
        # What must be set alike for the weights to mean the same; a mismatch is an error that says what to set.
        weights = ExternalWeights(path, "a NumPy archive", required={"pixel_scaling": "minus_one_to_one"})
        layers: dict[str, dict[str, np.ndarray]] = {}
        for name, value in values.items():
            layer, _, last = name.rpartition("/")
            layers.setdefault(layer, {})[last] = value
        for layer, arrays in layers.items():
            weights.put(layer, layer, **arrays)
        return weights
