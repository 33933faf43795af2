"""The command `tpuseg`: it runs each program as `python official/...` does."""

import subprocess
import sys

import pytest
import yaml

from tpuseg import __version__, commands


def run(*arguments):
    code = "import sys; from tpuseg.commands import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    return done.returncode, done.stdout, done.stderr


def test_every_program_is_there_and_described(capsys):
    assert commands.main(["tpuseg", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    described = dict(line.split(maxsplit=1) for line in lines if line.startswith("  "))
    assert list(described) == list(commands.PROGRAMS) and all(text.endswith(".") for text in described.values()), described


def test_version_and_mistakes(capsys):
    assert commands.main(["tpuseg", "--version"]) == 0 and capsys.readouterr().out.strip() == __version__
    assert commands.main(["tpuseg"]) == 2
    assert commands.main(["tpuseg", "trian"]) == 1 and "`trian` is not a program of tpuseg" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["voc_to_tfrecord", "voc-to-tfrecord"])
def test_a_program_gets_its_flags(name):
    code, said, error = run(name, "--voc_root=nowhere", "--split=train", "--output=there")
    assert code == 1 and "error: " in error and "nowhere" in error and "Traceback" not in error, error
    code, said, error = run(name, "--help")
    assert code == 0 and "--voc_root" in said and "--mask_suffix" in said


def test_one_version(repository):
    assert yaml.safe_load((repository / "CITATION.cff").read_text())["version"] == __version__
