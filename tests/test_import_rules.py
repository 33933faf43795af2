"""The import rules in pyproject.toml: the package keeps them, and a violation of each kind is found."""

import os
import shutil
import subprocess
import sys

import pytest

# A line that is added to a module, and what the linter says of it.
VIOLATIONS = {
    "evaluation/miou.py": ("from tpuseg.deeplab import model", "tpuseg.evaluation is not allowed to import tpuseg.deeplab"),
    "ops/boxes.py": ("import tpuseg.maskrcnn.model", "tpuseg.ops is not allowed to import tpuseg.maskrcnn"),
    "deeplab/losses.py": ("from tpuseg.maskrcnn import losses", "tpuseg.deeplab is not allowed to import tpuseg.maskrcnn"),
    "convert/voc.py": ("from tpuseg.layers import resize", "tpuseg.convert is not allowed to import tpuseg.layers"),
    "ops/masks.py": ("import orbit", "tpuseg is not allowed to import orbit"),
    "visualization/fonts.py": ("from official.core import base_task", "tpuseg is not allowed to import official"),
}


def lint(folder):
    """Returns the exit code and what the linter prints, without its line breaks."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"]
    env = {**os.environ, "PYTHONPATH": str(folder / "official"), "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def copy(repository, tmp_path):
    """A copy of the package and of its rules."""
    shutil.copytree(repository / "official" / "tpuseg", tmp_path / "official" / "tpuseg")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_the_rules(repository):
    code, said = lint(repository)
    assert code == 0 and "0 broken" in said, said[-3000:]


def test_a_violation_of_each_kind_is_found(copy):
    for name, (line, _) in VIOLATIONS.items():
        with open(copy / "official" / "tpuseg" / name, "a") as file:
            file.write(f"\n{line}\n")
    code, said = lint(copy)
    assert code == 1
    for _, expected in VIOLATIONS.values():
        assert expected in said, f"{expected}: not in {said[:6000]}"


def test_a_new_module_must_be_given_a_layer(copy):
    (copy / "official" / "tpuseg" / "newcomer.py").write_text("import os\n")
    code, said = lint(copy)
    assert code == 1 and "newcomer" in said
