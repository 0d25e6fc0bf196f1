"""The tree of errors, their fixed sentences and what they carry."""

from __future__ import annotations

import inspect
import pickle

import pytest

from stream_kernel import errors
from stream_kernel.errors import (
    BoundaryError,
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    ConfigurationError,
    PayloadError,
    ProtocolViolation,
    RuntimeWorkerFailedError,
    StreamKernelError,
    UsageError,
    WorkerBootstrapError,
    boundary_error,
    handoff_sentence,
)
from stream_kernel.reports import Category, CommandReport, FailureReport


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (UsageError, RuntimeError),
        (WorkerBootstrapError, RuntimeError),
        (PayloadError, ValueError),
        (ProtocolViolation, Exception),
        (BoundaryInputError, ValueError),
        (BoundaryTransportError, ConnectionError),
        (BoundaryTimeoutError, TimeoutError),
        (BoundaryExecutionError, RuntimeError),
        (RuntimeWorkerFailedError, RuntimeError),
    ],
)
def test_every_error_is_ours_and_the_builtin_that_fits(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, StreamKernelError) and issubclass(error, builtin)


def test_the_three_categories_share_a_base_that_a_refused_input_does_not_have() -> None:
    assert set(BoundaryError.__subclasses__()) == {BoundaryTransportError, BoundaryTimeoutError, BoundaryExecutionError}
    assert not issubclass(BoundaryInputError, BoundaryError)


def test_the_docstring_draws_every_error_of_the_module() -> None:
    ours = [name for name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, StreamKernelError)]
    assert errors.__doc__ is not None
    assert [name for name in ours if not name.startswith("_") and name not in errors.__doc__] == []


@pytest.mark.parametrize(
    ("category", "cls", "sentence"),
    [
        ("transport", BoundaryTransportError, "remote handoff transport failed for group 'G'"),
        ("timeout", BoundaryTimeoutError, "remote handoff timed out for group 'G'"),
        ("execution", BoundaryExecutionError, "remote handoff failed for group 'G'"),
        ("input", BoundaryInputError, "remote handoff refused an input for group 'G'"),
    ],
)
def test_each_category_has_its_class_and_its_sentence(category: Category, cls: type[Exception], sentence: str) -> None:
    assert handoff_sentence(category, "G") == sentence
    error = boundary_error(category, group="G", delivery="maybe_executed", trace_ids=("t",), correlation_id="c")
    assert type(error) is cls and str(error) == sentence
    assert (error.category, error.delivery, error.group, error.trace_ids, error.correlation_id) == (
        category,
        "maybe_executed",
        "G",
        ("t",),
        "c",
    )
    assert error.report == FailureReport()


@pytest.mark.fault("FAULT-34")
def test_what_a_report_says_is_neither_in_the_text_nor_in_the_repr() -> None:
    command = CommandReport(correlation_id="c", group="G", inputs=1, delivery="executed", outcome="failed")
    report = FailureReport(reason="hunter2", detail="hunter2", commands=(command,))
    error = boundary_error("execution", group="G", delivery="executed", report=report)
    assert "hunter2" not in str(error) + repr(error)
    assert error.report is report
    with pytest.raises(AttributeError):
        report.detail = ""  # type: ignore[misc]


def test_the_text_of_a_refused_input_may_name_node_and_path() -> None:
    error = boundary_error("input", group="G", delivery="not_executed", message="input for node 'n' at $.a: is a tuple")
    assert str(error) == "input for node 'n' at $.a: is a tuple"


def test_a_payload_error_grows_its_path_from_the_inside_out() -> None:
    error = PayloadError("is a tuple").below("[3]").below(".items")
    assert str(error) == "at $.items[3]: is a tuple"


def test_a_boot_error_says_which_group_and_keeps_its_detail_out_of_the_text() -> None:
    error = WorkerBootstrapError("m", group="g", detail="traceback")
    assert (str(error), error.group, error.detail) == ("m", "g", "traceback")
    assert WorkerBootstrapError("m").group is None


def test_the_error_of_runtimes_survives_pickling() -> None:
    error = RuntimeWorkerFailedError("m", category="timeout", group="g", delivery="maybe_executed")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RuntimeWorkerFailedError
    assert (str(again), again.category, again.group, again.delivery) == ("m", "timeout", "g", "maybe_executed")
