"""Extracting the relevant line of an error message, which TensorFlow surrounds with lines about its graph."""

import re

_FUNCTION = re.compile(r"^\{\{function_node [^}]*\}\}+ *")
_ABOUT_THE_GRAPH = re.compile(
    r"Graph execution error:|Detected at node |Node: |<stack traces unavailable>|\d+ root error|\s*\(\d+\)\s|\s*\[\["
)


def first_line(error: BaseException, length: int = 300) -> str:
    """Returns the first relevant line of an error message, shortened; the class of the error if there is none."""
    text = str(getattr(error, "message", None) or error).strip()
    lines = [_FUNCTION.sub("", line.strip()) for line in text.splitlines()]
    telling = [line for line in lines if line and not _ABOUT_THE_GRAPH.match(line)]
    return (telling or [type(error).__name__])[0][:length]
