"""Which images of a data set belong together, so that a split must not part them: frames of a video, versions of one image."""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

# What Roboflow puts behind the name of an image, other for each of its augmented versions.
_VERSION = re.compile(r"(_(jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-f]{16,64}$", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d{1,18})(?P<behind>\D*)$", re.DOTALL)
# A run of numbers is one of frames if so many of the steps from one to the next are alike.
_REGULAR = 0.6
_SHORTEST_RUN, _FEWEST_RUNS = 3, 3
# Of the images that must be in runs, so that the data set is one of videos.
_MOST = 0.5


class Groups(NamedTuple):
    """Images that belong together.

    Attributes:
      keys: the group of each image; equal for those that belong together.
      note: what was recognised, for people; empty if nothing was.
    """

    keys: list[str]
    note: str = ""


def group_by_pattern(names: Sequence[str], pattern: str) -> Groups:
    """Returns the groups that an expression finds in the names.

    Args:
      names: of the images.
      pattern: a regular expression that is searched for. What its groups in parentheses match, or all of its match, is the group.

    Raises:
      ValueError: it is no regular expression, or matches in no name.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--group_by={pattern} is no regular expression: {error}") from error
    keys, num_single = [], 0
    for name in names:
        found = compiled.search(name)
        num_single += found is None
        parts = (found.groups("") or (found[0],)) if found else (name,)
        keys.append("\0".join([*parts, "" if found else "single"]))
    if num_single == len(names):
        raise ValueError(f"--group_by={pattern} matches in no name of an image, such as {names[0] if names else 'none'}")
    rest = f"; {num_single} images do not match and are groups of their own" if num_single else ""
    return Groups(keys, f"--group_by={pattern} makes {len(set(keys)) - num_single} groups of the images' names{rest}")


def find_groups(names: Sequence[str]) -> Groups:
    """Recognises versions of one image, and frames of videos by the running numbers in their names.

    Names that are equal but for a number belong to one video if the numbers go up by mostly the same step, as in `day_0030`,
    `day_0060`, `day_0090`. There must be three such videos, with most of the images.

    Args:
      names: of the images.
    """
    stems = [_VERSION.sub("", name.rpartition(".")[0] or name) for name in names]
    num_versions = len(stems) - len(set(stems))
    notes = [f"{num_versions} images are versions of others (.rf.)"] if num_versions else []
    runs = _find_runs(sorted(set(stems)))
    in_runs = sum(stem in runs for stem in stems)
    num_runs = len(set(runs.values()))
    if num_runs < _FEWEST_RUNS or in_runs < _MOST * len(stems):
        runs = {}
        if num_runs == 1 and in_runs > _MOST * len(stems):
            notes.append("the names have one running number: if the images are frames of one video, neighbours are in both splits")
    else:
        notes.append(f"{in_runs} images are frames of {num_runs} videos by their running numbers, such as {min(runs.values())}")
    return Groups([runs.get(stem, stem) for stem in stems], "; ".join(notes))


def _find_runs(stems: Sequence[str]) -> dict[str, str]:
    """Returns the run of every name that is in one; runs are called by what their names share, with * for the number."""
    numbered: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for stem in stems:
        found = _NUMBER.fullmatch(stem)
        if found:
            numbered[f"{found['before']}*{found['behind']}"].append((int(found["number"]), stem))
    runs: dict[str, str] = {}
    for key, members in numbered.items():
        numbers = sorted(number for number, _ in members)
        steps = collections.Counter(after - before for before, after in zip(numbers[:-1], numbers[1:], strict=True))
        if len(members) >= _SHORTEST_RUN and max(steps.values()) >= _REGULAR * (len(members) - 1):
            runs |= {stem: key for _, stem in members}
    return runs
