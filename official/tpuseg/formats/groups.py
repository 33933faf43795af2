"""Grouping images that must be in the same split: frames of one video, and augmented versions or copies of one image."""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

# The suffix that Roboflow adds to the name of an image, different for each of its augmented versions.
_VERSION = re.compile(r"(_(jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-f]{16,64}$", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d{1,18})(?P<behind>\D*)$", re.DOTALL)
# Numbers are frame numbers of a video if at least this fraction of the differences between consecutive numbers is equal.
_REGULAR = 0.6
_SHORTEST_RUN, _FEWEST_RUNS = 3, 3
# Minimum fraction of the images that must be frames, so that the images are grouped by video.
_MOST = 0.5


class Groups(NamedTuple):
    """Groups of images.

    Attributes:
      keys: key of each image's group; equal for images of the same group.
      note: a note for the user about how the groups were found; empty if there are none.
    """

    keys: list[str]
    note: str = ""


def group_by_pattern(names: Sequence[str], pattern: str) -> Groups:
    """Groups images by the part of their names that a regular expression matches.

    Args:
      names: names of the images.
      pattern: a regular expression, which is searched for. The text that its groups in parentheses match, or its whole match if it
        has none, is the key of the group.

    Raises:
      ValueError: the pattern is not a regular expression, or matches none of the names.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--group_by={pattern} is not a regular expression: {error}") from error
    keys, num_single = [], 0
    for name in names:
        found = compiled.search(name)
        num_single += found is None
        parts = (found.groups("") or (found[0],)) if found else (name,)
        keys.append("\0".join([*parts, "" if found else "single"]))
    if num_single == len(names):
        raise ValueError(f"--group_by={pattern} matches none of the images' names, such as {names[0] if names else 'none'}")
    rest = f"; {num_single} images do not match, and each is a group of its own" if num_single else ""
    return Groups(keys, f"--group_by={pattern} finds {len(set(keys)) - num_single} groups in the images' names{rest}")


def find_groups(names: Sequence[str]) -> Groups:
    """Groups versions of one image, and frames of videos, by the names of the images.

    Names that only differ in a number belong to one video if most of the differences between consecutive numbers are equal, as in
    `day_0030`, `day_0060`, `day_0090`. Frames are only grouped if there are at least three such videos, with most of the images.

    Args:
      names: names of the images.
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
            notes.append(
                "the names are consecutively numbered: if the images are frames of one video, neighbouring frames are in both"
                " splits"
            )
    else:
        notes.append(f"{in_runs} images are frames of {num_runs} videos according to their numbers, such as {min(runs.values())}")
    return Groups([runs.get(stem, stem) for stem in stems], "; ".join(notes))


def join(grouped: Groups, copies: Sequence[Sequence[int]]) -> Groups:
    """Returns groups in which all copies of an image are in one group; groups that contain copies of the same image are joined.

    Args:
      grouped: groups of images.
      copies: for each image that has copies, the positions of all of them.
    """
    parents = {key: key for key in grouped.keys}

    def find(key: str) -> str:
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    for places in copies:
        target = find(grouped.keys[places[0]])
        for place in places[1:]:
            parents[find(grouped.keys[place])] = target
    num_copies = sum(len(places) - 1 for places in copies)
    note = f"{num_copies} images are copies of others, byte for byte, and are in the same split as those" if copies else ""
    return Groups([find(key) for key in grouped.keys], "; ".join(filter(None, [grouped.note, note])))


def _find_runs(stems: Sequence[str]) -> dict[str, str]:
    """Returns the video of every name that is a frame of one; a video is identified by the names, with * instead of the number."""
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
