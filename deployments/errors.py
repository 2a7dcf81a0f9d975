"""Every error this project raises on purpose. No HTTP here: ``graph/status.py`` gives each class its status.

    PipelineGraphError
    ├── ConfigError                 the configuration is wrong
    ├── ModelLoadError              a replica cannot load its model
    ├── RequestError                the caller can mend the request
    │   ├── AuthenticationError         no API key, or one that is not valid
    │   ├── MalformedRequestError       not readable at all
    │   ├── UnknownModelError           no such model or task
    │   ├── PayloadTooLargeError        over a size limit
    │   ├── UnsupportedMediaError       content type that nothing here reads
    │   ├── NotAcceptableError          no answer of a kind that the caller takes
    │   ├── InvalidInputError           `inputs` is missing, of the wrong type or undecodable
    │   └── InvalidParameterError       a parameter is unknown or has a wrong value
    ├── MissingDependencyError      an optional package is needed for this request
    ├── OverloadedError             the queue is full; try again
    │   ├── ModelUnavailableError       the model is loading or has failed; try again
    │   │   └── ReplicaLostError            the replica that had the request went away
    │   └── RateLimitedError            the API key has no requests left for now
    ├── SlowBodyError               no request in time
    ├── DeadlineExceededError       no answer in time
    └── InferenceError              the model failed on this input; our fault

Each class keeps all its arguments in ``args``, so that it survives pickling between processes; ``str()`` is one
sentence that a caller can act on and that shows nothing of the server's insides.
"""


class PipelineGraphError(Exception):
    """Root of the tree; ``message`` is safe to show to a caller."""

    def __init__(self, message: str, *details: object) -> None:
        super().__init__(message, *details)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ConfigError(PipelineGraphError):
    """Raised when the configuration has mistakes; ``mistakes`` holds one ``path: sentence`` each."""

    def __init__(self, message: str, mistakes: tuple[str, ...] = ()) -> None:
        super().__init__(message, mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {mistake}" for mistake in self.mistakes)])


class ModelLoadError(PipelineGraphError):
    """Raised when a replica cannot load or warm up its model; the replica does not start."""


class RequestError(PipelineGraphError):
    """Root of what the caller can mend; ``field`` is the path of the offending part of the request, or None."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message, field)
        self.field = field


class AuthenticationError(RequestError):
    """Raised when a request has no API key, or one that is not valid, where one is needed."""


class MalformedRequestError(RequestError):
    """Raised when a body cannot be parsed as what it says it is."""


class UnknownModelError(RequestError):
    """Raised when no configured model has the name or serves the task asked for."""


class PayloadTooLargeError(RequestError):
    """Raised when a body, a list or a fetched file is over its limit."""


class UnsupportedMediaError(RequestError):
    """Raised when the content type of a body is not one that is read here."""


class NotAcceptableError(RequestError):
    """Raised when the caller accepts none of the media types that the answer can have."""


class InvalidInputError(RequestError):
    """Raised when ``inputs`` is missing, of the wrong type, empty where text is needed, or undecodable."""


class InvalidParameterError(RequestError):
    """Raised when a parameter is unknown, missing, or has a value that the pipeline refuses."""


class MissingDependencyError(PipelineGraphError):
    """Raised when a request needs an optional package that this server does not have."""


class OverloadedError(PipelineGraphError):
    """Raised when a model's queue is full; ``retry_after_s`` says when to try again (seconds)."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s


class ModelUnavailableError(OverloadedError):
    """Raised when a model has no running replica: still loading, or failed to load."""


class ReplicaLostError(ModelUnavailableError):
    """Raised when the replica that had the request went away; another one may answer it."""


class RateLimitedError(OverloadedError):
    """Raised when an API key has used up its requests, or has too many running."""


class SlowBodyError(PipelineGraphError):
    """Raised when the body of a request comes more slowly than is waited for."""


class DeadlineExceededError(PipelineGraphError):
    """Raised when a request got no answer within the configured time."""


class InferenceError(PipelineGraphError):
    """Raised when the model fails on a valid input; the log has the cause under the request id."""


MODEL_FAILED = "The model failed on this request; the server's log has the cause under this request id."
"""What a caller is told of anything unforeseen in a replica."""
