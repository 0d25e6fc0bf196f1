"""From what a user names on the command line to a configuration: a file, or an example of the package."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable

from stream_kernel.config.model import Mode, RuntimeConfig
from stream_kernel.errors import ConfigurationError

__all__ = ["load_config", "parse_workers"]

_EXAMPLE = "example:"


def load_config(reference: str, *, mode: Mode | None = None, workers: Mapping[str, int] | None = None) -> RuntimeConfig:
    """The configuration at a path, or of `example:NAME`, with another mode and other numbers of workers; raises `ConfigurationError`.

    Modules are looked for in the working directory too, as `python -m` does.
    """
    with suppress(FileNotFoundError):  # a folder that has been removed holds no module
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)
    config = _read_example(reference) if reference.startswith(_EXAMPLE) else RuntimeConfig.from_toml(reference)
    return config.adapted(mode=mode, workers=workers)


def parse_workers(given: list[str]) -> dict[str, int]:
    """`["GROUP=2"]` to `{"GROUP": 2}`; raises `ConfigurationError`."""
    counts: dict[str, int] = {}
    for text in given:
        match = re.fullmatch(r"(.+)=([0-9]{1,9})", text)
        if match is None:
            raise ConfigurationError(f"--workers {text}: write GROUP=N, for example --workers execution.features=3")
        counts[match[1]] = int(match[2])
    return counts


def _examples() -> dict[str, Traversable]:
    """The configurations in the folders of the examples."""
    return {
        f"{_EXAMPLE}{folder.name}/{entry.name.removesuffix('.toml')}": entry
        for folder in files("stream_kernel.examples").iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def _read_example(reference: str) -> RuntimeConfig:
    known = _examples()
    resource = known.get(reference)
    if resource is None:
        raise ConfigurationError(f"there is no {reference} (there are: {', '.join(sorted(known))})")
    with as_file(resource) as path:
        return RuntimeConfig.from_toml(path)
