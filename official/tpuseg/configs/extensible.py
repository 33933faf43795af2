"""Configurations to which other packages add fields: a backbone, a loss or an augmentation and its settings."""

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from official.modeling.hyperparams import base_config

from tpuseg import registry


class Extensible(base_config.Config):
    """A configuration whose registered fields are there beside those that its class defines.

    A subclass says in `components` which registry has them. Every registered field has the name of a component and holds its
    configuration. Where `fields_are_optional` is true, it is None unless the experiment sets it, and the component is not used.
    """

    # Without types, which would make them fields.
    components = registry.Registry[Any]("component")
    fields_are_optional = False

    @classmethod
    def registered_fields(cls) -> Mapping[str, type]:
        """Returns the configuration class of every registered field."""
        return {name: component.config_class for name, component in cls.components.registered().items()}

    @classmethod
    def register_fields(cls) -> None:
        """Makes registered fields known to the class, so that their values are checked and get their types."""
        for name, config_class in cls.registered_fields().items():
            cls.__annotations__[name] = typing.Optional[config_class] if cls.fields_are_optional else config_class  # noqa: UP045

    def added_values(self) -> dict[str, Any]:
        """Returns the values of the registered fields."""
        return {name: getattr(self, name) for name in self.registered_fields()}

    def used(self, records_kind: str, key: str) -> Iterator[tuple[str, Any, Any]]:
        """Yields the name, the class and the configuration of every component that the experiment names.

        Args:
          records_kind: `semantic` or `instances`: what the task learns from.
          key: dotted path of this configuration, for the message.

        Raises:
          ValueError: a component is for the other kind of examples.
        """
        for name, settings in self.added_values().items():
            if settings is None:
                continue
            component = self.components.get(name)
            if component.records_kind != records_kind:
                raise ValueError(f"{key}.{name} is for {component.records_kind} examples, and not for {records_kind}")
            yield name, component, settings

    def as_dict(self) -> dict[str, Any]:
        """Returns the values as nested dictionaries; without registered components that are not used."""
        fields = self.registered_fields()
        return {name: value for name, value in super().as_dict().items() if value is not None or name not in fields}

    def __post_init__(self, default_params: Any, restrictions: Any) -> None:
        self.register_fields()
        for name, config_class in self.registered_fields().items():
            self.__dict__[name] = None if self.fields_are_optional else config_class()
        super().__post_init__(default_params, restrictions)
