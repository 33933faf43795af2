"""What a loader did with a file of weights."""

import dataclasses


@dataclasses.dataclass
class Report:
    """Which layers got weights, and which did not.

    Attributes:
      source: the file.
      restored: layers (or variables) of the model that got weights.
      skipped: those that did not, with the reason.
      unused: what the file has besides.
    """

    source: str
    restored: list[str] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)

    def require_match(self) -> None:
        """Raises ValueError if nothing was restored, with a few names of both sides."""
        if self.restored:
            return
        ours = ", ".join(name for name, _ in self.skipped[:3])
        theirs = ", ".join(self.unused[:3])
        raise ValueError(f"nothing in {self.source} matches the model: it has {theirs or 'no weights'}; the model has {ours}")

    def table(self) -> str:
        """Returns the report as lines for people."""
        lines = [f"initial weights from {self.source}: {len(self.restored)} restored"]
        lines += _list("skipped", [f"{name} ({why})" for name, why in self.skipped])
        lines += _list("unused in the file", self.unused)
        return "\n".join(lines)


def _list(title: str, names: list[str], most: int = 12) -> list[str]:
    if not names:
        return []
    more = [f"    ... and {len(names) - most} more"] if len(names) > most else []
    return [f"  {title}: {len(names)}"] + [f"    {name}" for name in names[:most]] + more
