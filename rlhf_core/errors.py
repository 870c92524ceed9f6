"""The mistakes that Charter names. Each is also the built-in kind that a caller would expect to catch."""


class CharterError(Exception):
    """Base of every error that is reported to a user as one line, without a traceback."""


class InvalidInput(CharterError, ValueError):
    """The user's input is wrong. `field` is the dotted path of the value at fault, where there is one."""

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field


class NotFound(CharterError, LookupError):
    """The thing asked for does not exist."""


class Conflict(CharterError):
    """The thing exists already with other content, or its state does not allow the request."""


class Unavailable(CharterError, ConnectionError):
    """A service, a model or the disk cannot be used now; the same call may work later."""


class TrainingFailed(CharterError, RuntimeError):
    """Training cannot go on (a non-finite loss, no usable preferences); what was stored stays."""


class LeaseLost(CharterError):
    """Another worker holds this run now; nothing more may be written for it from here."""
