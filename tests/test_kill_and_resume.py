"""SIGKILL at random moments: the benchmark that counts and compares, with few kills."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_killed_run_loses_nothing(repository, tmp_path):
    program = str(repository / "benchmarks/kill_and_resume.py")
    command = [sys.executable, program, "--kills=3", "--faults=4", f"--work_dir={tmp_path / 'runs'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills" in done.stdout and done.stdout.rstrip().endswith("passed")
    assert "final checkpoint           equal to the bit" in done.stdout
