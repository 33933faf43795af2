"""Writes the report of a run's last evaluation from its stored detections, or compares several runs, without running the network.

python official/report.py --model_dir=runs/mine
python official/report.py --model_dir=runs/mine --detections=results_of_another_program.json
python official/report.py --model_dir=runs/first --model_dir=runs/second --output_dir=comparison

The page is report/index.html in the model directory, or index.html in --output_dir. Detections of other programs are files in
COCO's results format with masks, for the images of the run's validation data. official/evaluate.py runs the network and writes the
page.
"""

import os

from absl import flags

from tpuseg import cli

_MODEL_DIR = flags.DEFINE_multi_string("model_dir", [], "Directory of a run; several times for a comparison with the first one.")
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Folder (or gs://) of relative input patterns.")
_DETECTIONS = flags.DEFINE_string(
    "detections", "", "File in COCO's results format with masks; that of the run's last evaluation by default."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Folder of the page; `report` in the model directory by default.")


def main(argv: list[str]) -> None:
    """Writes the page given by the flags."""
    cli.refuse_arguments(argv)
    model_dirs = _MODEL_DIR.value
    cli.require(model_dir=model_dirs)
    if len(model_dirs) > 1:
        cli.require(output_dir=_OUTPUT_DIR.value)
        if _DETECTIONS.value:
            raise ValueError("--detections is the file of one run; give --model_dir once")
    from tpuseg.training import run_directory, stored_report

    if len(model_dirs) > 1:
        path = stored_report.write_comparison(model_dirs, _DATA_DIR.value, _OUTPUT_DIR.value)
    else:
        folder = _OUTPUT_DIR.value or os.path.join(model_dirs[0], run_directory.REPORT_FOLDER)
        path = stored_report.write(model_dirs[0], _DATA_DIR.value, _DETECTIONS.value, folder)
    print(f"report: {path}")


if __name__ == "__main__":
    cli.run(main)
