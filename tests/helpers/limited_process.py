"""A process of limited memory that answers lines, for readers of hostile files that may crash, hang or take all memory."""

import resource
import select
import subprocess
import sys


class LimitedProcess:
    """Runs a script that prints `ready`, and then one line for each line that it reads; it is started again where it died."""

    def __init__(self, script, gigabytes, seconds, *options):
        """Starts nothing yet.

        Args:
          script: Python code.
          gigabytes: of memory that the process can address.
          seconds: that an answer may take.
          *options: of the interpreter.
        """
        self._script, self._bytes, self._seconds, self._options = script, gigabytes << 30, seconds, options
        self._process = None

    def ask(self, line):
        """Returns the answer to a line: empty if the process died, a sentence if it did not answer in time."""
        if self._process is None:
            self._start()
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], self._seconds)
        answer = self._process.stdout.readline().strip() if ready else ""
        if not answer:
            self.close()
        return answer if ready else f"did not end within {self._seconds} s"

    def _start(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (self._bytes, self._bytes))

        self._process = subprocess.Popen(
            [sys.executable, *self._options, "-c", self._script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
            env={"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdout.readline() == "ready\n"

    def close(self):
        """Ends the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
