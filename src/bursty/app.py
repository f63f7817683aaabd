"""``App``: what a user declares. Declaring does no I/O and starts nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from bursty.declared import endpoint_spec, mount_spec, to_json
from bursty.endpoints import EndpointSpec, MountSpec
from bursty.errors import ConfigError
from bursty.ports import ambient, open_runs
from bursty.units import check_priority, parse_bytes, parse_seconds
from bursty.values import Env, FunctionSpec, JobSpec, ScheduleSpec

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")
F = TypeVar("F", bound="type[Any] | Callable[..., Any]")

OPTIONS = ("name", "memory", "cpu", "gpu", "timeout", "retries", "idempotent", "env")
JOB_OPTIONS = ("title", "description", "priority", "notify")
ENDPOINT_OPTIONS = (
    *("deadline", "fallback", "batch", "concurrency", "spares", "cache_ttl", "auth", "log", "max_body", "chunk"),
    *("title", "description"),
)
MOUNT_OPTIONS = ("kind", "processes", "threads", "auth")
SCHEDULE_OPTIONS = ("cron", "every", "tz", "missed", "overlap", "inputs")
ENDS = ("succeeded", "failed", "timed_out", "cancelled", "lost", "missed")


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


class Job(Protocol[P, R]):
    """A declared job: its function when called (with a ``Run``); ``start`` queues a run of it."""

    __bursty_job__: JobSpec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def start(self, **inputs: Any) -> Any:
        """Queue a run with these inputs: its ``RunRecord``. See ``bursty.jobs.runs.Runs.submit`` for the errors."""
        ...


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
        self.jobs: dict[str, JobSpec] = {}
        self.endpoints: dict[str, EndpointSpec] = {}
        self.mounts: dict[str, MountSpec] = {}
        self.offered: dict[str, Any] = {}
        """The functions and classes of endpoints, and the mounted apps, by name."""
        self._forms: dict[str, Callable[..., Any]] = {}

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

    @overload
    def job(self, fn: Callable[P, T], /) -> Job[P, T]: ...

    @overload
    def job(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        priority: int = 0,
        notify: Iterable[str] | None = None,
        memory: int | str | None = None,
        cpu: float | None = None,
        gpu: int | None = None,
        timeout: float | str | None = None,
        retries: int | None = None,
        idempotent: bool | None = None,
        env: Env | None = None,
    ) -> Callable[[Callable[P, T]], Job[P, T]]: ...

    def job(self, fn: Any = None, /, **options: Any) -> Any:
        """Declare a job: a function with a form. Returns the function itself, with ``start``.

        A parameter annotated ``Run`` gets the run; the others are the form. ``title`` and ``description`` head it
        (default: the name, the docstring). ``priority``: higher goes first. ``notify``: the ends that people hear of
        (default: failed, timed_out, lost). ``timeout`` and ``retries`` count for an attempt; ``idempotent=False``: not
        begun again when its worker died. The rest as in ``function``. Raises ``ConfigError``.
        """
        if fn is not None:
            return self._declare_job(fn, options)

        def declare(function: Callable[..., Any]) -> Any:
            return self._declare_job(function, options)

        return declare

    def schedule(
        self,
        cron: str | None = None,
        /,
        *,
        every: float | str | None = None,
        tz: str = "UTC",
        missed: str = "once",
        overlap: str = "skip",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Callable[[Callable[P, T]], Job[P, T]]:
        """Declare a job that runs by itself: by ``cron`` (five fields, time zone ``tz``), or ``every`` so long.

        Above an ``@app.job`` it adds a schedule to it. ``missed``, ``overlap``: see ``ScheduleSpec``; ``inputs``: the
        job's inputs at each fire; other options as in ``job``. Raises ``ConfigError``.
        """
        if (cron is None) == (every is None):
            raise ConfigError("a schedule needs either a cron expression or every=", '@app.schedule("*/5 * * * *")')
        _one_of("missed", missed, ("once", "skip", "all"))
        _one_of("overlap", overlap, ("skip", "queue", "replace"))
        spec = ScheduleSpec(cron, parse_seconds(every), tz, cast(Any, missed), cast(Any, overlap), dict(inputs or {}))

        def declare(function: Any) -> Any:
            known = getattr(function, "__bursty_job__", None)
            if not isinstance(known, JobSpec):
                function = self._declare_job(function, options)
                known = function.__bursty_job__
            elif options:
                raise ConfigError("this function is a job already", "Give those options to @app.job.")
            job = replace(known, schedules=(*known.schedules, spec))
            self.jobs[job.name] = function.__bursty_job__ = job
            return function

        return declare

    def endpoint(self, path: str, /, **options: Any) -> Callable[[F], F]:
        """Declare an endpoint: a function, or a class whose constructor loads what its ``__call__`` needs.

        ``deadline``: from arrival to answer (default 10 s). ``fallback``: what is answered when it passes:
        ``"last_good"`` (same input and model version), ``"last_good_any"``, ``Default(value)``, or a list of them.
        ``batch``: requests that wait are scored together: ``True``, a size, or ``Batching(size, wait)``; the function
        takes one list. ``concurrency``: workers (default: one a core); ``spares``: warm ones beside them. ``timeout``:
        after so long a worker is killed. ``cache_ttl``: how old a fallback may be. ``auth``: ``"token"`` or
        ``"public"``. ``log``: ``True``, ``False`` or ``Log(…)``. ``max_body``: bytes. ``chunk``: longer lists are
        shared out in pieces. Others as in ``function``. Raises ``ConfigError``.
        """

        if not isinstance(cast("object", path), str):  # @app.endpoint without its parentheses
            raise ConfigError(f"@app.endpoint needs a path, not {path!r}", 'Write it like @app.endpoint("/predict").')

        def declare(target: Any) -> Any:
            if inspect.isclass(target):
                if not (inspect.isfunction(getattr(target, "__call__", None))):  # noqa: B004
                    raise ConfigError(f"the class {target.__name__} answers nothing", "Give it a method __call__.")
            elif not inspect.isfunction(target):
                raise ConfigError(f"@app.endpoint needs a function or a class, not {target!r}", "Write it above a def.")
            _check_options(options, (*OPTIONS, *ENDPOINT_OPTIONS))
            name = options.get("name") or target.__name__
            self._take_place(name, path)
            spec = endpoint_spec(self._spec(target, name, options), path, options, inspect.getdoc(target) or "")
            self.endpoints[name] = cast(Any, target).__bursty_endpoint__ = spec
            self.offered[name] = target
            return target

        return declare

    def mount(self, path: str, web_app: T, /, **options: Any) -> T:
        """Serve any WSGI or ASGI app under ``path``, in processes of its own.

        ``processes``: how many; ``threads``: requests that one of them works on at once (WSGI). ``auth``: ``"token"``
        or ``"public"``. ``kind``: ``"wsgi"`` or ``"asgi"`` (default: seen from the app). ``memory``, ``env`` and
        ``name`` as in ``function``. Raises ``ConfigError``.
        """
        _check_options(options, ("name", "memory", "env", *MOUNT_OPTIONS))
        name = options.get("name") or (path.strip("/").replace("/", "-") or "root")
        self._take_place(name, path)
        function = FunctionSpec(name, memory=parse_bytes(options.get("memory")), env=options.get("env") or self.env)
        self.mounts[name] = mount_spec(function, path, web_app, options)
        self.offered[name] = web_app
        return web_app

    def _take_place(self, name: str, path: str) -> None:
        if name in self.offered:
            raise ConfigError(
                f"app {self.name!r} has two endpoints or mounts named {name!r}", "Give one of them name=."
            )
        for other in (*self.endpoints.values(), *self.mounts.values()):
            if other.path == path:
                raise ConfigError(f"{other.name!r} and {name!r} both lie at {path}", "Give one of them another path.")

    def _declare_job(self, fn: Any, options: dict[str, Any]) -> Any:
        _check_function(fn, options, (*OPTIONS, *JOB_OPTIONS), "job")
        title, lines = fn.__name__.replace("_", " ").capitalize(), inspect.getdoc(fn) or ""
        name = options.get("name") or fn.__name__
        if name in self.jobs:
            raise ConfigError(f"app {self.name!r} has two jobs named {name!r}", "Give one of them name=.")
        notify = tuple(options.get("notify") or ()) if options.get("notify") is not None else None
        for end in notify or ():
            _one_of("notify", end, ENDS)
        job = JobSpec(
            self._spec(fn, name, options),
            options.get("title") or title,
            options.get("description") or lines,
            check_priority(options.get("priority", 0)),
            **({} if notify is None else {"notify": notify}),
        )
        self.jobs[name], self._forms[name] = job, fn
        fn.__bursty_job__ = job

        def start(**inputs: Any) -> Any:
            return open_runs().start(fn, self.name, job.name, inputs)

        fn.start = start
        return fn

    def _declare(self, fn: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
        _check_function(fn, options, OPTIONS, "function")
        name = options.get("name") or fn.__name__
        if name in self.functions:
            raise ConfigError(f"app {self.name!r} has two functions named {name!r}", "Give one of them name=.")
        spec = self._spec(fn, name, options)
        self.functions[name] = spec
        return _attach(fn, spec)

    def _spec(self, fn: Callable[..., Any], name: str, options: dict[str, Any]) -> FunctionSpec:
        retries = options.get("retries")
        if retries is not None and retries < 0:
            raise ConfigError(f"retries must be 0 or more, not {retries}")
        return FunctionSpec(
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

    def __bursty_describe__(self) -> dict[str, Any]:
        """The declarations as JSON-able data, with a form for each job, for ``describe``."""
        return {
            "name": self.name,
            "functions": [_as_json(spec) for spec in self.functions.values()],
            "jobs": [_job_as_json(job, self._forms[name]) for name, job in self.jobs.items()],
            "endpoints": [_endpoint_as_json(spec, self.offered[name]) for name, spec in self.endpoints.items()],
            "mounts": [to_json(spec) for spec in self.mounts.values()],
        }

    def __repr__(self) -> str:
        offered = f"endpoints={list(self.endpoints)}, mounts={list(self.mounts)}"
        return f"App({self.name!r}, functions={list(self.functions)}, jobs={list(self.jobs)}, {offered})"


def _check_function(fn: Any, options: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    if not inspect.isfunction(fn):
        raise ConfigError(f"@app.{what} needs a function, not {fn!r}", "Write it above a def.")
    _check_options(options, known)


def _check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := set(options) - set(known):
        raise ConfigError(f"there is no option {', '.join(sorted(unknown))}", f"Known: {', '.join(known)}.")


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{what} can't be {value!r}", f"Known: {', '.join(known)}.")


def _job_as_json(job: JobSpec, fn: Callable[..., Any]) -> dict[str, Any]:
    from bursty.forms.schema import form_of

    return {
        "name": job.name,
        "title": job.title,
        "description": job.description,
        "priority": job.priority,
        "notify": list(job.notify),
        "function": _as_json(job.function),
        "schedules": [asdict(schedule) for schedule in job.schedules],
        "form": form_of(fn),
    }


def _endpoint_as_json(spec: EndpointSpec, target: Any) -> dict[str, Any]:
    """The spec, and ``schema``: what it takes and gives. See ``forms.offer``."""
    from bursty.forms.offer import schema_of

    return {**to_json(spec), "schema": schema_of(target, spec)}


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
