"""Writes the report of an evaluation again, from its stored detections, without running the network.

python official/report.py --model_dir=runs/mine
python official/report.py --model_dir=runs/mine --detections=results_of_another_program.json

The page is report/index.html in the model directory, or in --output_dir. Detections of other programs are files in COCO's results
format with masks, for the images of the run's validation data. official/evaluate.py runs the network and writes the same page.
"""

import os

from absl import flags

from tpuseg import cli

_DETECTIONS = flags.DEFINE_string(
    "detections", "", "File in COCO's results format with masks; that of the run's last evaluation by default."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Folder of the page; `report` in the model directory by default.")
cli.define_experiment_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Writes the report given by the flags."""
    cli.refuse_arguments(argv)
    from tpuseg.training import run_directory, stored_report

    experiment = cli.load_experiment()
    model_dir = cli.model_dir(experiment.name)
    folder = _OUTPUT_DIR.value or os.path.join(model_dir, run_directory.REPORT_FOLDER)
    path = stored_report.write(experiment.config, model_dir, cli.data_dir(), _DETECTIONS.value, folder)
    print(f"report: {path}")


if __name__ == "__main__":
    cli.run(main)
