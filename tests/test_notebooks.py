"""The tutorials, executed from a clean kernel in a folder that has nothing but the repository's code."""

import json
import pathlib
import shutil
import subprocess
import sys

import nbclient
import nbformat
import pytest

STEPS = "STEPS = 400"
# Fewer steps, which are enough to tell that the model learns: DeepLab reaches 0.42 in 200, too close to its limit.
FEWER_STEPS = {"maskrcnn": 200, "deeplab": 300}
NOTEBOOKS = {"maskrcnn": lambda metrics: metrics["segm"]["AP50"] > 0.1, "deeplab": lambda metrics: metrics["mean_iou"] > 0.4}


def read(repository, name):
    return nbformat.read(repository / "notebooks" / f"{name}_tutorial.ipynb", as_version=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_tutorial_runs_and_its_model_has_learned(name, repository, tmp_path):
    for folder in ("official", "data", "experiments", "requirements.txt"):
        (tmp_path / folder).symlink_to(repository / folder)
    notebook = read(repository, name)
    (cell,) = (cell for cell in notebook.cells if STEPS in cell.source)
    cell.source = cell.source.replace(STEPS, f"STEPS = {FEWER_STEPS[name]}")
    client = nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # Raises if a cell does.
    metrics = json.loads((tmp_path / "runs" / f"{name}_tutorial" / "metrics.json").read_text())
    assert NOTEBOOKS[name](metrics), metrics
    assert sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])) >= 5


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_tutorial_is_committed_as_it_ran(name, repository):
    cells = [cell for cell in read(repository, name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def run_first_cell(name, repository, folder, **environment):
    """Runs a tutorial's first cell alone in a folder; returns the process and the folder that it chose."""
    cell = next(cell for cell in read(repository, name).cells if cell.cell_type == "code")
    command = [sys.executable, "-c", cell.source + "\nprint('root:', root)"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "", **environment})
    return process, process.stdout.partition("root: ")[2].strip()


def make_clone(folder):
    for name in ("official/train.py", "official/tpuseg/__init__.py", "notebooks/here"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_the_first_cell_finds_a_clone_an_installed_package_and_an_upload(name, repository, tmp_path):
    clone = make_clone(tmp_path / "clone")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    # As they lie in an archive of a branch: in a folder of any name.
    shutil.make_archive(str(uploads / "main"), "zip", tmp_path, "clone")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run_first_cell(name, repository, clone / "notebooks")[1] == str(clone)
    assert run_first_cell(name, repository, uploads)[1] == str(uploads / "clone")
    assert run_first_cell(name, repository, empty, PYTHONPATH=str(clone / "official"))[1] == str(clone)
    process, _ = run_first_cell(name, repository, empty)
    assert process.returncode == 1 and f"put the repository, or a .zip of it, into {empty}" in process.stderr


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
@pytest.mark.parametrize(
    ("vendor", "device", "is_tpu"), [("0x1ae0", "0x0063", True), ("0x1ae0", "0x0042", False), ("0x10de", "0x0063", False)]
)
def test_the_first_cell_knows_a_tpu_by_its_chips(name, vendor, device, is_tpu, repository, tmp_path):
    cell = next(cell for cell in read(repository, name).cells if cell.cell_type == "code")
    (tmp_path / "vendor").write_text(vendor + "\n")
    (tmp_path / "device").write_text(device + "\n")
    names = {"pathlib": None}
    start, end = cell.source.index("TPU_CHIPS ="), cell.source.index("has_chips =")
    exec(cell.source[start:end], names)
    assert names["is_chip"](tmp_path) is is_tpu


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_folder_of_the_user_replaces_the_generated_one(name, repository):
    (cell,) = (cell for cell in read(repository, name).cells if 'MY_FOLDER = ""' in cell.source)
    chosen = {}
    for folder in ("", "photos", "/absolute"):
        names = {"here": pathlib.Path("/notebook"), "pathlib": pathlib}
        exec(cell.source.replace('MY_FOLDER = ""', f"MY_FOLDER = {folder!r}"), names)
        chosen[folder] = (str(names["FOLDER"]), str(names["PLAN"]), names["MODEL_DIR"])
    assert chosen[""][1:] == (f"datasets/{name}_tutorial", f"runs/{name}_tutorial")
    mine = (f"datasets/{name}_mine", f"runs/{name}_mine")
    assert chosen["photos"] == ("/notebook/photos", *mine) and chosen["/absolute"] == ("/absolute", *mine)
