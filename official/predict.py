"""Predicts pictures with a trained model.

Writes an overlay of each; for DeepLab also the classes, for Mask R-CNN one results.json in COCO's results format.

python official/predict.py --model_dir=runs/deeplab_shapes --input='pictures/*.jpg' --output_dir=predictions
"""

import glob
import itertools
import os
import sys
from collections.abc import Iterator

from absl import flags

from tpuseg import cli

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Checkpoint or folder; the run's best one by default.")
_INPUT = flags.DEFINE_string("input", None, "A picture, a folder of pictures, or a pattern in quotes.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the predictions go.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Pictures at a time.", lower_bound=1)

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def find_pictures(pattern: str) -> list[str]:
    """Returns the pictures that `--input` names.

    Raises:
      ValueError: there are none.
    """
    if os.path.isdir(pattern):
        paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if name.lower().endswith(_ENDINGS)]
    else:
        paths = [path for path in glob.glob(pattern) if os.path.isfile(path)]
    if not paths:
        raise ValueError(f"--input={pattern} names no picture ({', '.join(_ENDINGS)})")
    return sorted(paths)


def _batches(paths: list[str], size: int) -> Iterator[tuple[str, ...]]:
    iterator = iter(paths)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def main(argv: list[str]) -> int:
    """Predicts all pictures; returns 1 if any could not be read."""
    cli.refuse_arguments(argv)
    cli.require(model_dir=_MODEL_DIR.value, input=_INPUT.value, output_dir=_OUTPUT_DIR.value)
    paths = find_pictures(_INPUT.value)
    import tqdm

    from tpuseg import files, images, serving

    predictor = serving.Predictor(_MODEL_DIR.value, _CHECKPOINT.value)
    print(f"predicting {len(paths)} pictures with {predictor.checkpoint_path}", flush=True)
    broken, results = 0, []
    with tqdm.tqdm(total=len(paths), unit="picture", disable=None) as bar:
        for batch in _batches(paths, _BATCH_SIZE.value):
            pictures = {}
            for path in batch:
                try:
                    pictures[path] = images.read_rgb(path)
                except (OSError, SyntaxError, ValueError) as error:
                    broken += 1
                    print(f"skipped {path}: {error}", file=sys.stderr, flush=True)
            predictions = predictor.predict(list(pictures.values())) if pictures else []
            for (path, picture), prediction in zip(pictures.items(), predictions, strict=True):
                name = os.path.splitext(os.path.basename(path))[0]
                predictor.task.write_prediction(prediction, picture, os.path.join(_OUTPUT_DIR.value, name))
                results += predictor.task.results(prediction, name)
            bar.update(len(batch))
    if results:
        files.write_json(os.path.join(_OUTPUT_DIR.value, "results.json"), results)
    print(f"{len(paths) - broken} predictions in {_OUTPUT_DIR.value}" + (f"; {broken} skipped" if broken else ""))
    return 1 if broken else 0


if __name__ == "__main__":
    cli.run(main)
