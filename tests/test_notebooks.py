"""The tutorials, executed from a clean kernel in a folder that has nothing but the repository's code."""

import json

import nbclient
import nbformat
import pytest

# What a fraction of the steps reaches: enough to tell that it learns.
STEPS, FEWER_STEPS = "STEPS = 400", "STEPS = 160"
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
    cell.source = cell.source.replace(STEPS, FEWER_STEPS)
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
