"""What a loader did with a file of weights."""

import collections
import dataclasses

# Why most layers are skipped.
ABSENT = "not in the file"


@dataclasses.dataclass
class Report:
    """Which layers got weights, and which did not.

    Attributes:
      source: the file.
      what: it is, in words.
      restored: layers (or variables) of the model that got weights.
      skipped: those that did not, with the reason.
      unused: what the file has besides.
      notes: what else a user should know.
      class_names: names of the model's classes, if its classifier was restored and the file has names.
      class_layers: Layers of the model that have values for every class.
    """

    source: str
    what: str = ""
    restored: list[str] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    class_names: list[str | None] | None = None
    class_layers: frozenset[str] = frozenset()

    def require_match(self) -> None:
        """Raises ValueError if nothing was restored, with a few names of both sides."""
        if self.restored:
            return
        ours = ", ".join(name if why == ABSENT else f"{name} ({why})" for name, why in self.skipped[:3])
        theirs = ", ".join(self.unused[:3])
        raise ValueError(f"nothing in {self.source} matches the model: it has {theirs or 'no weights'}; the model has {ours}")

    def table(self) -> str:
        """Returns the report as lines for people."""
        what = f" ({self.what})" if self.what else ""
        lines = [f"initial weights from {self.source}{what}: {len(self.restored)} restored"]
        parts = collections.Counter(name.removeprefix("model/").partition("/")[0] for name in self.restored)
        lines += [f"    {part}: {count}" for part, count in sorted(parts.items())]
        lines += _list("skipped", _group(self.skipped), len(self.skipped))
        lines += _list("unused in the file", self.unused)
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def _group(skipped: list[tuple[str, str]]) -> list[str]:
    """Returns a line for each reason and part of the model, with up to three names."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, why in skipped:
        groups.setdefault((name.partition("/")[0], why), []).append(name)
    lines = []
    for (_, why), names in groups.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more} ({why})")
    return lines


def _list(title: str, names: list[str], count: int = 0, most: int = 12) -> list[str]:
    if not names:
        return []
    more = [f"    ... and {len(names) - most} more"] if len(names) > most else []
    return [f"  {title}: {count or len(names)}"] + [f"    {name}" for name in names[:most]] + more
