"""The started script is imported again under another name, without its guarded part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_kernel.protocol.messages import MainModule
from stream_kernel.routing.tags import MAIN_ALIAS
from stream_kernel.worker.main_module import import_main

SCRIPT = """
from dataclasses import dataclass
@dataclass
class Message:
    text: "str"
value = __name__
if __name__ == "__main__":
    raise RuntimeError("the guarded part ran")
"""


@pytest.fixture(autouse=True)
def main_is_put_back() -> Iterator[None]:
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
    sys.modules.pop(MAIN_ALIAS, None)


def test_a_script_takes_the_place_of_main_and_its_guarded_part_stays_out(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    import_main(MainModule(path=str(path)))
    main = sys.modules["__main__"]
    assert main is sys.modules[MAIN_ALIAS]
    assert (main.__file__, vars(main)["value"]) == (str(path), MAIN_ALIAS)
    assert vars(main)["Message"].__module__ == MAIN_ALIAS


def test_a_module_that_was_started_by_name_keeps_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "started_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sibling.py").write_text("here = True\n")
    (package / "program.py").write_text("from .sibling import here\n" + SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    import_main(MainModule(name="started_package.program"))
    assert vars(sys.modules["__main__"])["here"] is True
    for name in [name for name in sys.modules if name.startswith("started_package")]:
        del sys.modules[name]


def test_a_program_that_cannot_be_found_again_is_an_import_error() -> None:
    with pytest.raises(ImportError, match=r"no_such\.program|no_such"):
        import_main(MainModule(name="no_such.program"))
