"""From a bootstrap message to nodes that are ready: import path, started script, modules, settings, contexts."""

from __future__ import annotations

import logging
import os
import sys

from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.nodes.guard import importing_nodes
from stream_kernel.nodes.registry import BuiltNode, build_nodes, cause_of
from stream_kernel.protocol.messages import Bootstrap

__all__ = ["import_nodes"]


def import_nodes(order: Bootstrap) -> list[BuiltNode]:
    """Import and build what `order` names. Raises `WorkerBootstrapError`."""
    # It led this process to the package; children of nodes must not inherit it.
    os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [*order.import_path, *(path for path in sys.path if path not in order.import_path)]
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with importing_nodes():
        if order.main is not None:
            from stream_kernel.worker.main_module import import_main

            try:
                import_main(order.main)
            except BaseException as error:  # noqa: BLE001  the user's script runs here
                problem = _script_failed(order, error)
            else:
                return _build(order)
            raise problem
        return _build(order)


def _build(order: Bootstrap) -> list[BuiltNode]:
    return build_nodes(group=order.process_group, modules=order.discovery_modules, names=order.nodes, settings=order.settings)


def _script_failed(order: Bootstrap, error: BaseException) -> WorkerBootstrapError:
    import traceback

    return WorkerBootstrapError(
        f"group '{order.process_group}': the started script cannot be imported again in a worker: {cause_of(error, importing=True)}",
        group=order.process_group,
        detail="".join(traceback.format_exception(error)),
    )
