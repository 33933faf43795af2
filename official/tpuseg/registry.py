"""Named components: architectures, backbones, losses, augmentations, data readers and weight sources.

An experiment names its components, and these registries say what makes each. Components of this package are imported when an
experiment asks for them. Those of other packages are added by a decorator; `--import_module=my.package`, or `import_modules` in
the experiment, imports the module that has it. docs/extending.md has an example of every kind.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from tpuseg.backbones.backbone import Backbone
    from tpuseg.data.augmentation import Augmentation
    from tpuseg.training.architecture import Architecture
    from tpuseg.training.extra_losses import ExtraLoss
    from tpuseg.weights.source import WeightSource

_Component = TypeVar("_Component")


class Registry(Generic[_Component]):
    """The components of one kind, by name."""

    def __init__(self, kind: str, built_in: Mapping[str, str] | None = None) -> None:
        """Creates a registry.

        Args:
          kind: What its components are, in words, for messages.
          built_in: The components of this package: a name, and `module:attribute`, which is imported when it is asked for.
        """
        self.kind = kind
        self._built_in = dict(built_in or {})
        self._registered: dict[str, _Component] = {}

    def register(self, name: str) -> Callable[[_Component], _Component]:
        """Returns a decorator that adds a component under a name.

        Args:
          name: The component's name in experiments.

        Raises:
          ValueError: Another component has this name. Defining the same one again, as when a notebook's cell runs twice,
            replaces it.
        """

        def add(component: _Component) -> _Component:
            known = self._registered.get(name)
            if name in self._built_in or (known is not None and _origin(known) != _origin(component)):
                owner = self._built_in.get(name) or _origin(known)
                raise ValueError(f"there is already another {self.kind} `{name}` ({owner}); register yours under another name")
            self._registered[name] = component
            return component

        return add

    def get(self, name: str) -> _Component:
        """Returns a component.

        Args:
          name: A registered name.

        Raises:
          ValueError: There is no such component; the message lists those that there are.
        """
        if name in self._registered:
            return self._registered[name]
        if name not in self._built_in:
            nearest = difflib.get_close_matches(str(name), self.names(), n=1, cutoff=0.5)
            guess = f"; did you mean `{nearest[0]}`?" if nearest else ""
            known = ", ".join(self.names()) or "none"
            raise ValueError(f"there is no {self.kind} `{name}`{guess} (known: {known}; --import_module=PACKAGE imports others)")
        module, _, attribute = self._built_in[name].partition(":")
        component: _Component = getattr(importlib.import_module(module), attribute)
        return component

    def names(self) -> list[str]:
        """Returns the names of all components, sorted."""
        return sorted({*self._built_in, *self._registered})

    def registered(self) -> dict[str, _Component]:
        """Returns the components that other packages added, in the order in which they were added."""
        return dict(self._registered)

    def unregister(self, name: str) -> None:
        """Removes a component that was added by `register`; for tests."""
        del self._registered[name]


def _origin(component: Any) -> str:
    """Returns where a component is defined: a class or function, or the class of an object."""
    named = component if hasattr(component, "__qualname__") else type(component)
    return f"{named.__module__}.{named.__qualname__}"


architectures: "Registry[Architecture]" = Registry(
    "architecture",
    {"deeplab": "tpuseg.deeplab.architecture:DEEPLAB", "maskrcnn": "tpuseg.maskrcnn.architecture:MASK_RCNN"},
)


backbones: "Registry[type[Backbone]]" = Registry(
    "backbone",
    {
        "resnet": "tpuseg.backbones.resnet:ResNet",
        "mobilenet_v2": "tpuseg.backbones.mobilenet:MobileNetV2",
        "xception65": "tpuseg.backbones.xception:Xception65",
    },
)

losses: "Registry[type[ExtraLoss]]" = Registry("loss")
augmentations: "Registry[type[Augmentation]]" = Registry("augmentation")
weight_sources: "Registry[type[WeightSource]]" = Registry("weight source")


def import_modules(names: list[str]) -> None:
    """Imports the modules that register components of other packages.

    Args:
      names: Dotted names of modules, as `import` takes them; those in the working directory are found too.

    Raises:
      ValueError: A module does not exist, or fails while it is imported; names it and the reason.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # A program's own path begins with the folder of the program.
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"cannot import {name} ({error}); it must be in the working directory, installed, or on PYTHONPATH"
            ) from error
