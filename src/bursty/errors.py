"""Every error that bursty raises of its own, in one tree.

    BurstyError
    ├── ConfigError (ValueError)        a setting, declaration or option is wrong
    │   └── InputsInvalid               what was asked of a job doesn't fit its form
    ├── MissingExtra (ImportError)      an optional package is not installed
    ├── EnvError                        an Env could not be resolved or installed
    ├── SerializationError (TypeError)  a function, argument, result or exception can't travel
    ├── ResumeMismatch                  a resumed map is not the map that was begun
    ├── StoreError                      a blob or state store refused
    │   ├── BlobNotFound (KeyError)
    │   ├── BlobExists                  a conditional put lost
    │   └── DigestMismatch              content is not what its digest says
    ├── TableError (ValueError)         a table can't be read, or does not fit into a format
    ├── NoticeFailed                    a notice did not reach all of the services that should get it
    ├── BackendError                    workers can't be started or reached at all
    ├── RemoteError                     what a call raised, when the original can't be rebuilt; and the remote
    │                                   traceback of one that can (its ``__cause__``)
    ├── DeskError                       what code in a run asked for (a model, cached data, an output) can't be had
    └── CallError                       a call has no value, and not because its function raised
        ├── CallTimeout (TimeoutError)  it ran longer than its ``timeout``
        ├── CallExited                  it called ``sys.exit``
        └── WorkerLost                  its worker died
            └── MemoryLimit (MemoryError)

A message says what happened and where; ``hint`` says what to do about it and is printed behind it.
"""

from __future__ import annotations


class BurstyError(Exception):
    """Base of all errors of bursty.

    ``hint``: what the reader can do about it, one or two plain sentences; part of ``str(error)``.
    """

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.hint}" if self.hint else self.message


def in_words(error: BaseException) -> str:
    """One line of an error that was survived: its message; of another library's, its type too."""
    return error.message if isinstance(error, BurstyError) else f"{type(error).__name__}: {error}"


class ConfigError(BurstyError, ValueError):
    """A setting, a declaration or an option can't be used as given."""


class InputsInvalid(ConfigError):
    """Inputs of a job don't fit its form.

    ``problems``: all of them (the first 100), each ``{"field", "message", "value"}``; ``field`` is ``""`` when it is
    about the inputs as a whole, ``value`` is short and fit for JSON.
    """

    def __init__(self, message: str = "", hint: str = "", *, problems: list[dict[str, object]] | None = None) -> None:
        super().__init__(message, hint)
        self.problems = problems or []

    def __reduce__(self) -> tuple[object, ...]:
        return _inputs_invalid, (self.message, self.hint, self.problems)


def _inputs_invalid(message: str, hint: str, problems: list[dict[str, object]]) -> InputsInvalid:
    return InputsInvalid(message, hint, problems=problems)


class MissingExtra(BurstyError, ImportError):
    """An optional package is needed and not installed."""

    @classmethod
    def of(cls, package: str, extra: str, what: str) -> MissingExtra:
        return cls(f"{what} needs the package {package!r}", f'pip install "bursty[{extra}]"')


class EnvError(BurstyError):
    """An Env could not be resolved, installed or started."""


class SerializationError(BurstyError, TypeError):
    """An object can't travel between processes; the message names the path to the part that can't."""


class ResumeMismatch(BurstyError):
    """``resume=`` names a map whose function or arguments differ from these."""


class StoreError(BurstyError):
    """A store refused or failed; nothing was half written."""


class BlobNotFound(StoreError, KeyError):
    """No blob has this key."""

    __str__ = BurstyError.__str__


class BlobExists(StoreError):
    """A put with a condition found that somebody else wrote first."""


class DigestMismatch(StoreError):
    """The content under a digest is not the content that was stored: damaged, or tampered with."""


class TableError(BurstyError, ValueError):
    """A table file is damaged or of another format, or the table does not fit into the format that is asked for."""


class NoticeFailed(BurstyError):
    """A notice did not reach all of the services that should get it; the message names these, without their secrets."""


class BackendError(BurstyError):
    """The backend can't give a worker at all, so no call can run."""


class RemoteError(BurstyError):
    """What a call raised on its worker.

    As the ``__cause__`` of the original exception it carries the worker's traceback. It stands in for the
    original when that can't be rebuilt here.

    ``type_name``: qualified name of the original's type. ``remote_traceback``: its formatted traceback.
    """

    def __init__(self, message: str = "", hint: str = "", *, type_name: str = "", remote_traceback: str = "") -> None:
        super().__init__(message, hint)
        self.type_name = type_name
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\n{self.remote_traceback.rstrip()}" if self.remote_traceback else text

    def __reduce__(self) -> tuple[object, ...]:
        return _remote_error, (self.message, self.hint, self.type_name, self.remote_traceback)


def _remote_error(message: str, hint: str, type_name: str, remote_traceback: str) -> RemoteError:
    return RemoteError(message, hint, type_name=type_name, remote_traceback=remote_traceback)


class DeskError(BurstyError):
    """What code in a run or a script asked for (a model, cached data, an output) can't be had; the message says why."""


class CallError(BurstyError):
    """A call ended without a value, and not because its function raised."""


class CallTimeout(CallError, TimeoutError):
    """A call ran longer than its ``timeout`` and was killed."""

    __str__ = BurstyError.__str__


class CallExited(CallError):
    """A call ended by ``sys.exit`` (or raised ``SystemExit``)."""


class WorkerLost(CallError):
    """The worker of a call died: a signal, ``os._exit``, a crash in C code, a machine that went away."""


class MemoryLimit(WorkerLost, MemoryError):
    """The worker of a call went over its ``memory`` limit and was killed."""

    __str__ = BurstyError.__str__
