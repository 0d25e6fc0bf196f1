"""Imports the started script again, as multiprocessing's spawn does, so that nodes and classes defined in it exist here too."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

from stream_kernel.protocol.messages import MainModule
from stream_kernel.routing.tags import MAIN_ALIAS

__all__ = ["import_main"]


def import_main(main: MainModule) -> None:
    """Run the script under another name than `__main__`, so that its guarded part stays out, and take its place."""
    module = ModuleType(MAIN_ALIAS)
    module.__file__, code = _source_of(main)
    module.__package__ = None if main.name is None else main.name.rpartition(".")[0]
    # In place before its code runs: dataclasses and type hints look their module up in sys.modules.
    sys.modules[MAIN_ALIAS] = sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102  the user's own program, named by the parent that runs it


def _source_of(main: MainModule) -> tuple[str, CodeType]:
    if main.name is None:
        path = main.path or ""
        code = SourceFileLoader(MAIN_ALIAS, path).get_code(MAIN_ALIAS)
    else:
        spec = importlib.util.find_spec(main.name)
        path = "" if spec is None else spec.origin or ""
        code = None if spec is None or spec.loader is None else spec.loader.get_code(main.name)  # type: ignore[attr-defined]
    if code is None:
        raise ImportError(f"the started program '{main.name or main.path}' cannot be found again")
    return path, code
