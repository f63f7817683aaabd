"""``App``: what a user declares. Declaring does no I/O and starts nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from bursty.errors import ConfigError
from bursty.ports import ambient
from bursty.units import parse_bytes, parse_seconds
from bursty.values import Env, FunctionSpec

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")

OPTIONS = ("name", "memory", "cpu", "gpu", "timeout", "retries", "idempotent", "env")


class Submitted(Protocol, Generic[R]):
    """A ``concurrent.futures.Future`` with ``stats``; see ``bursty.engine.futures.CallFuture``."""

    def result(self, timeout: float | None = None) -> R: ...

    def exception(self, timeout: float | None = None) -> BaseException | None: ...

    def cancel(self) -> bool: ...

    def done(self) -> bool: ...


class Function(Protocol[P, T]):
    """A declared function: itself when called; elsewhere by ``submit``, ``map``, ``starmap``, ``submit_many``."""

    __bursty__: FunctionSpec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Submitted[T]: ...

    def map(self, *iterables: Iterable[Any], **options: Any) -> Iterator[T]: ...

    def starmap(self, iterable: Iterable[Iterable[Any]], **options: Any) -> Iterator[T]: ...

    def submit_many(self, iterable: Iterable[Any], **options: Any) -> list[Submitted[T]]: ...


class App:
    """Functions that belong together. ``env``: the Env of those that name none."""

    def __init__(self, name: str, *, env: Env | None = None) -> None:
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(
                f"{name!r} can't be the name of an app", "Use letters, digits, '-' and '_'; it becomes part of URLs."
            )
        self.name = name
        self.env = env
        self.functions: dict[str, FunctionSpec] = {}

    @overload
    def function(self, fn: Callable[P, T], /) -> Function[P, T]: ...

    @overload
    def function(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        memory: int | str | None = None,
        cpu: float | None = None,
        gpu: int | None = None,
        timeout: float | str | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        env: Env | None = None,
    ) -> Callable[[Callable[P, T]], Function[P, T]]: ...

    def function(self, fn: Any = None, /, **options: Any) -> Any:
        """Declare a function. Returns the function itself, with ``submit``, ``map``, ``starmap``, ``submit_many``.

        ``memory``: bytes or ``"2 GiB"``, of a worker. ``timeout``: seconds or ``"10 min"``, of a call. ``retries``: how
        often a call that raised or timed out is tried again. ``idempotent``: ``False``: never run twice by itself;
        ``True``: a slow call may be doubled. Raises ``ConfigError``.
        """
        if fn is not None:
            return self._declare(fn, options)

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            return self._declare(function, options)

        return declare

    def _declare(self, fn: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
        if not inspect.isfunction(fn):
            raise ConfigError(f"@app.function needs a function, not {fn!r}", "Write it above a def.")
        if unknown := set(options) - set(OPTIONS):
            raise ConfigError(f"there is no option {', '.join(sorted(unknown))}", f"Known: {', '.join(OPTIONS)}.")
        name = options.get("name") or fn.__name__
        if name in self.functions:
            raise ConfigError(f"app {self.name!r} has two functions named {name!r}", "Give one of them name=.")
        retries = options.get("retries")
        if retries is not None and retries < 0:
            raise ConfigError(f"retries must be 0 or more, not {retries}")
        spec = FunctionSpec(
            name=name,
            module=fn.__module__,
            qualname=fn.__qualname__,
            memory=parse_bytes(options.get("memory")),
            cpu=options.get("cpu"),
            gpu=options.get("gpu"),
            timeout=parse_seconds(options.get("timeout")),
            retries=retries,
            idempotent=options.get("idempotent"),
            env=options.get("env") or self.env,
        )
        self.functions[name] = spec
        return _attach(fn, spec)

    def __bursty_describe__(self) -> dict[str, Any]:
        """The declarations as JSON-able data, for ``describe``."""
        return {"name": self.name, "functions": [_as_json(spec) for spec in self.functions.values()]}

    def __repr__(self) -> str:
        return f"App({self.name!r}, functions={list(self.functions)})"


def _as_json(spec: FunctionSpec) -> dict[str, Any]:
    data: dict[str, Any] = {name: getattr(spec, name) for name in FunctionSpec.__dataclass_fields__ if name != "env"}
    env = spec.env
    data["env"] = env and {"requirements": env.requirements, "python": env.python, "files": env.files}
    return data


def _attach(fn: Any, spec: FunctionSpec) -> Callable[..., Any]:
    """Give the function its methods; it stays the same object, so that it pickles by reference."""

    def submit(*args: Any, **kwargs: Any) -> Any:
        return ambient().submit(fn, *args, **kwargs)

    def map_(*iterables: Iterable[Any], **options: Any) -> Any:
        return ambient().map(fn, *iterables, **options)

    def starmap(iterable: Iterable[Iterable[Any]], **options: Any) -> Any:
        return ambient().starmap(fn, iterable, **options)

    def submit_many(iterable: Iterable[Any], **options: Any) -> Any:
        return ambient().submit_many(fn, iterable, **options)

    fn.__bursty__ = spec
    fn.submit, fn.map, fn.starmap, fn.submit_many = submit, map_, starmap, submit_many
    return cast(Callable[..., Any], fn)
