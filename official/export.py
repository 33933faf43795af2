"""Exports a trained model for use without this project; docs/export.md describes the inputs and outputs.

python official/export.py --model_dir=runs/mine --output_dir=exported/mine
python official/export.py --model_dir=runs/mine --output_dir=exported/lite --format=tflite --tflite_type=int8 --calibration=photos
python official/export.py --model_dir=runs/mine --output_dir=exported/mine --verify='datasets/mine/val-*.tfrecord'
"""

import sys
import time
from typing import TYPE_CHECKING

from absl import flags

from tpuseg import cli
from tpuseg.utils.messages import format_count

if TYPE_CHECKING:
    from tpuseg.inference import predictors

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Checkpoint or folder; the run's best one by default.")
_FORMAT = flags.DEFINE_enum("format", "saved_model", ["saved_model", "tflite"], "Format of the exported model.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the exported model; an existing one is replaced.")
_FIXED_SIZE = flags.DEFINE_list("fixed_size", [], "HEIGHT,WIDTH of the signature `fixed`; the network's input by default.")
_TFLITE_TYPE = flags.DEFINE_enum("tflite_type", "float32", ["float32", "float16", "int8"], "Type of TFLite's weights.")
_CALIBRATION = flags.DEFINE_string("calibration", "", "For int8: images, a folder of images, or a pattern in quotes.")
_VERIFY = flags.DEFINE_string(
    "verify", "", "Pattern of validation records, in quotes: compares the metrics of checkpoint, predict.py and exported model."
)


def _size(values: list[str]) -> tuple[int, int] | None:
    if not values:
        return None
    if len(values) != 2 or not all(value.strip().isdigit() and int(value) for value in values):
        raise ValueError(f"--fixed_size={','.join(values)} is not HEIGHT,WIDTH in pixels, as in --fixed_size=480,640")
    return int(values[0]), int(values[1])


def _verify(predictor: "predictors.Predictor") -> int:
    """Prints the metrics of checkpoint, prediction and exported model; returns 1 if they differ too much."""
    from tpuseg.export import verify

    report = verify.verify(predictor, _OUTPUT_DIR.value, _VERIFY.value)
    print(f"scores on {format_count(report.num_images, 'image')} of {_VERIFY.value}:\n{report.table()}")
    checked = {verify.PREDICT: "official/predict.py"}
    if _FORMAT.value == "saved_model":  # TFLite computes with fewer bits, or finds classes on the canvas.
        checked[verify.EXPORT] = "the export"
    different = [shown for name, shown in checked.items() if report.difference(name) > verify.TOLERANCE]
    for shown in different:
        print(f"error: {shown} scores otherwise than the checkpoint, by more than {verify.TOLERANCE}", file=sys.stderr)
    return 1 if different else 0


def main(argv: list[str]) -> int:
    """Exports the model given by the flags; returns 1 if `--verify` finds a difference."""
    cli.refuse_arguments(argv)
    cli.require(model_dir=_MODEL_DIR.value or _CHECKPOINT.value, output_dir=_OUTPUT_DIR.value)
    size = _size(_FIXED_SIZE.value)
    if size and _FORMAT.value != "saved_model":
        raise ValueError("--fixed_size is for --format=saved_model; a TFLite model takes images of the network's input size")
    if _CALIBRATION.value and _TFLITE_TYPE.value != "int8":
        raise ValueError("--calibration is for --format=tflite --tflite_type=int8")
    started = time.monotonic()
    from tpuseg.export import saved_model, tflite
    from tpuseg.inference import predictors
    from tpuseg.io import image_paths, path_patterns

    if _VERIFY.value and not path_patterns.find(_VERIFY.value):
        raise ValueError(f"--verify={_VERIFY.value} names no file; it needs a pattern of records (datasets/mine/val-*.tfrecord)")
    model_dir = _MODEL_DIR.value or predictors.model_dir_of(_CHECKPOINT.value)
    # Independent of the training's precision: bfloat16 is slow without an accelerator, and TFLite quantises float32.
    predictor = predictors.Predictor(model_dir, _CHECKPOINT.value, precision="float32")
    if _FORMAT.value == "saved_model":
        saved_model.export(predictor, _OUTPUT_DIR.value, size)
    else:
        calibration = image_paths.find(_CALIBRATION.value, "--calibration") if _CALIBRATION.value else []
        tflite.export(predictor, _OUTPUT_DIR.value, _TFLITE_TYPE.value, calibration)
    print(f"{predictor.source} is exported to {_OUTPUT_DIR.value} ({time.monotonic() - started:.0f} s)", flush=True)
    return _verify(predictor) if _VERIFY.value else 0


if __name__ == "__main__":
    cli.run(main)
