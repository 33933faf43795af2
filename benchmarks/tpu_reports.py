"""Runs the preflights in docs/tpu/reports.md, and writes their reports into its marked places.

python benchmarks/tpu_reports.py
python benchmarks/tpu_reports.py --only=deeplab_voc/train/v5e-8    (one report; the others in the file are not changed)

Every report takes minutes: the whole train step of a large model is compiled for each kind of TPU.
"""

import os
import re
import subprocess
import sys

from absl import flags

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "official"))

from tpuseg import cli  # noqa: E402

_DOCUMENT = flags.DEFINE_string("document", os.path.join(_ROOT, "docs", "tpu", "reports.md"), "File with the marked places.")
_ONLY = flags.DEFINE_multi_string("only", [], "Report to write, EXPERIMENT/MODE/TPU; may be repeated; all by default.")
_JSON_DIR = flags.DEFINE_string("json_dir", "", "Folder to which the reports are also written as JSON; none by default.")
_SLICES = "v3-8,v3-32,v3-128"
REPORTS = {
    **{f"{name}/train/{tpu}": [] for name in ("maskrcnn_coco", "deeplab_voc") for tpu in ("v3-32", "v5e-8", "v6e-8")},
    **{f"{name}/eval/v3-8": [] for name in ("maskrcnn_coco", "deeplab_voc")},
    **{f"{name}/train/{_SLICES}": ["--scaling"] for name in ("maskrcnn_coco", "deeplab_voc")},
    "deeplab_voc/train/v3-8/too large a batch": ["--find_batch_size", "--params_override=task.train_data.global_batch_size=512"],
}


def arguments(report: str) -> list[str]:
    """Returns the command line of a report's preflight, relative to the repository's folder."""
    experiment, mode, tpu = report.split("/")[:3]
    flags_of_it = [f"--experiment={experiment}", f"--tpu_type={tpu}", "--top=10", *REPORTS[report]]
    return ["official/preflight.py", *flags_of_it, *([f"--mode={mode}"] if mode != "train" else [])]


def put(text: str, report: str, output: str) -> str:
    """Replaces a report in its marked place in a document.

    Args:
      text: text of the document.
      report: name of the report.
      output: output of the preflight.

    Returns:
      The new text of the document.

    Raises:
      ValueError: the document has no place for the report.
    """
    place = re.compile(rf"(<!-- report {re.escape(report)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"--document has no place for {report}: a line `<!-- report {report} -->` and a line `<!-- end -->`")
    shown = f"```\n$ python {' '.join(arguments(report))}\n{output.strip()}\n```\n"
    return place.sub(lambda match: match[1] + shown + match[2], text)


def _report(report: str) -> str:
    print(f"{report} ...", flush=True)
    command = [sys.executable, *arguments(report)]
    if _JSON_DIR.value:
        os.makedirs(_JSON_DIR.value, exist_ok=True)
        command.append(f"--json={os.path.join(os.path.abspath(_JSON_DIR.value), re.sub('[^A-Za-z0-9]+', '_', report))}.json")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("compiling ")]
    if not lines:
        raise ValueError(f"{' '.join(command)} has no output; it wrote: {done.stderr.strip()[-500:]}")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Runs the preflights, and writes each report as soon as it is available."""
    cli.refuse_arguments(argv)
    unknown = set(_ONLY.value) - set(REPORTS)
    if unknown:
        raise ValueError(f"--only={','.join(sorted(unknown))}: there are {'; '.join(REPORTS)}")
    for report in _ONLY.value or REPORTS:
        output = _report(report)
        with open(_DOCUMENT.value) as file:
            text = file.read()
        with open(_DOCUMENT.value, "w") as file:
            file.write(put(text, report, output))


if __name__ == "__main__":
    cli.run(main)
