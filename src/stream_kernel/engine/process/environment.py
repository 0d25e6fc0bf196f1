"""What a worker is started with: interpreter, environment, import path, started script."""

from __future__ import annotations

import fnmatch
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.errors import ConfigurationError
from stream_kernel.protocol.messages import Bootstrap, FaultOrder, Limits, MainModule

__all__ = ["bootstrap_message", "import_path", "main_module", "worker_arguments", "worker_environment"]

_ALLOWED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TMP", "TEMP", "LD_LIBRARY_PATH",
)  # fmt: skip


def worker_arguments(group: ProcessGroupConfig, lifeline_fd: int, max_frame_bytes: int, black_box_fd: int) -> list[str]:
    """The command line. It holds no secrets: other users can read it."""
    python = group.python or sys.executable
    return [
        *(python, "-P", "-m", "stream_kernel.worker"),
        *("--lifeline", str(lifeline_fd), "--max-frame-bytes", str(max_frame_bytes), "--black-box", str(black_box_fd)),
    ]


def worker_environment(group: ProcessGroupConfig, worker_index: int) -> dict[str, str]:
    """Variables of the allow-list, those that the group names, and those that it sets."""
    patterns = (*_ALLOWED, *group.env_passthrough)
    environment = {name: value for name, value in os.environ.items() if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    # The interpreter must find this package before anything can be sent to it. Where it is installed that happens by itself, and a
    # PYTHONPATH would put site-packages before the standard library.
    if group.python is None and _home() not in _site_directories():
        environment["PYTHONPATH"] = _home()
    environment.update({name: value.replace("{worker_index}", str(worker_index)) for name, value in group.env.items()})
    return environment


def bootstrap_message(
    config: RuntimeConfig,
    group: ProcessGroupConfig,
    worker_index: int,
    worker_id: str,
    generation: int,
    *,
    spins: bool = False,
    faults: tuple[FaultOrder, ...] = (),
) -> Bootstrap:
    """What a new worker is told: its place, its nodes and their settings, where to find them, and in tests its faults.

    `spins`: there is a CPU for it to poll on.
    """
    return Bootstrap(
        worker_id=worker_id,
        worker_index=worker_index,
        generation=generation,
        process_group=group.name,
        scenario_id=config.scenario_id,
        discovery_modules=list(config.modules_of(group)),
        nodes=list(group.nodes),
        settings={name: dict(config.nodes[name]) for name in group.nodes if name in config.nodes},
        import_path=import_path(group),
        main=main_module(config, group),
        limits=Limits(
            config.execution_ipc.max_frame_bytes,
            config.execution_ipc.max_hops,
            group.spin_microseconds if spins else 0,
        ),
        faults=faults,
    )


def import_path(group: ProcessGroupConfig) -> list[str]:
    """The parent's `sys.path`; for another interpreter without what belongs to this one."""
    here = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
    if group.python is None:
        return here
    own = (sys.prefix, sys.base_prefix, sys.exec_prefix, *_site_directories())
    return [path for path in here if not any(Path(path).is_relative_to(prefix) for prefix in own)]


def main_module(config: RuntimeConfig, group: ProcessGroupConfig) -> MainModule | None:
    """How the worker imports the started script again, where the group's nodes are defined in it."""
    if "__main__" not in config.modules_of(group):
        return None
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return MainModule(name=spec.name)
    path = None if spec is not None else getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        raise ConfigurationError(
            f"group '{group.name}': discovery_modules names __main__, but nodes defined in an interactive session, a notebook, "
            "`python -c`, or the __main__.py of a folder or zip file cannot be imported by a worker: "
            "put them into a module (a .py file) and name that"
        )
    return MainModule(path=os.path.abspath(path))


@cache  # neither changes, and each worker is held up by those before it
def _home() -> str:
    return str(Path(__file__).resolve().parents[3])


@cache
def _site_directories() -> frozenset[str]:
    return frozenset(str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("purelib", "platlib"))
