"""What Serve logs of a request that was refused: one line, as the mistake is the caller's."""

import logging

from deployments.errors import RequestError


class Refusals(logging.Filter):
    """Serve logs whatever a replica raises as an error with its traceback, which quotes the request.

    A `RequestError` becomes a line that names its class alone; all else stays as it is.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; False where its new level is not logged."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, RequestError):
            return True
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "request refused: %s", (type(error).__name__,)
        record.exc_info = record.exc_text = None
        return logging.getLogger(record.name).isEnabledFor(logging.INFO)
