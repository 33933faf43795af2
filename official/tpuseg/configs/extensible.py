"""Configurations to which other packages add fields: a backbone, a loss or an augmentation and its settings."""

import typing
from collections.abc import Mapping
from typing import Any

from official.modeling.hyperparams import base_config


class Extensible(base_config.Config):
    """A configuration whose registered fields are there beside those that its class defines.

    A subclass says in `registered_fields` which there are. Every registered field has the name of a component and holds its
    configuration. Where `fields_are_optional` is true, it is None unless the experiment sets it, and the component is not used.
    """

    fields_are_optional = False

    @classmethod
    def registered_fields(cls) -> Mapping[str, type]:
        """Returns the configuration class of every registered field."""
        return {}

    @classmethod
    def register_fields(cls) -> None:
        """Makes registered fields known to the class, so that their values are checked and get their types."""
        for name, config_class in cls.registered_fields().items():
            cls.__annotations__[name] = typing.Optional[config_class] if cls.fields_are_optional else config_class  # noqa: UP045

    def added(self) -> dict[str, Any]:
        """Returns the values of the registered fields."""
        return {name: getattr(self, name) for name in self.registered_fields()}

    def as_dict(self) -> dict[str, Any]:
        """Returns the values as nested dictionaries; without registered components that are not used."""
        fields = self.registered_fields()
        return {name: value for name, value in super().as_dict().items() if value is not None or name not in fields}

    def __post_init__(self, default_params: Any, restrictions: Any) -> None:
        self.register_fields()
        for name, config_class in self.registered_fields().items():
            self.__dict__[name] = None if self.fields_are_optional else config_class()
        super().__post_init__(default_params, restrictions)
