"""A refused request is one line of the log, without what its caller sent; a failure keeps its traceback."""

import logging
from collections.abc import Iterator

import pytest

from deployments.errors import InferenceError, InvalidParameterError
from deployments.refusals import Refusals


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found, refusals = logging.getLogger("of-a-replica"), Refusals()
    found.addFilter(refusals)
    yield found
    found.removeFilter(refusals)
    found.setLevel(logging.NOTSET)


def failed(logger: logging.Logger, error: Exception) -> None:
    """As Serve does it."""
    try:
        raise error
    except Exception:
        logger.exception("Request failed.")


def test_a_refusal_is_one_line_without_its_words(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.setLevel(logging.INFO)
    failed(logger, InvalidParameterError("`parameters.secret` is unknown", "secret"))
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "request refused: InvalidParameterError")
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_refusal_is_as_quiet_as_its_level(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.setLevel(logging.WARNING)
    failed(logger, InvalidParameterError("`parameters.secret` is unknown", "secret"))
    assert caplog.records == []


@pytest.mark.parametrize("error", [InferenceError("the model failed"), ValueError("anything")])
def test_a_failure_stays_an_error(logger: logging.Logger, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    failed(logger, error)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Traceback" in caplog.text


def test_what_is_no_exception_passes(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("as %s", "it is")
    assert caplog.messages == ["as it is"]
