"""The classes that a parent decodes outputs into."""

from __future__ import annotations

from importlib import import_module

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.errors import ConfigurationError
from stream_kernel.nodes.registry import cause_of
from stream_kernel.protocol.typed import is_message_class

__all__ = ["message_classes"]


def message_classes(config: RuntimeConfig) -> list[type]:
    """The message classes of the configuration's `message_modules`, which are imported; raises `ConfigurationError`."""
    classes: list[type] = []
    for name in config.message_modules:
        try:
            module = import_module(name)
        except Exception as error:  # noqa: BLE001  user code
            problem = f"message_modules: '{name}' cannot be imported: {cause_of(error, importing=True)}"
        else:
            classes += [value for value in vars(module).values() if is_message_class(value)]
            continue
        raise ConfigurationError(problem)
    return classes
