"""An endpoint in its worker: from a request's bytes to the answer's. Standard library and msgspec at import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from bursty.core.answers import SOME_FAILED, is_piece, pack_answer, pack_pieces, pack_request, unpack_request
from bursty.endpoints import EndpointSpec
from bursty.errors import ConfigError
from bursty.forms.offer_read import NoJson, Refused, said
from bursty.forms.offer_signature import read_offer
from bursty.runtime import endpoint_problems as problems
from bursty.runtime.describe import load_module
from bursty.runtime.endpoint_calls import Caller, WrongCount, each
from bursty.runtime.endpoint_lists import Listed, row_length, split_list
from bursty.runtime.endpoint_problems import Problem
from bursty.runtime.endpoint_request import Asked, Requests
from bursty.runtime.endpoint_results import Results, Unfit, as_list
from bursty.runtime.endpoint_rows import Rows, scrubbed
from bursty.runtime.faults import format_traceback
from bursty.runtime.model import loaded_versions

MAX_TRACEBACK = 4000
MOST_TRACEBACKS = 3


def open_endpoint(target: Any, app: str, name: str) -> Endpoint:
    """Import ``target`` (or take it, if it is a module) and find the endpoint. Raises ``ConfigError``, and what the
    module raises.
    """
    module = load_module(target) if isinstance(target, str) else target
    members = cast("dict[str, Any]", vars(module))
    apps = [one for one in members.values() if hasattr(cast(Any, type)(one), "__bursty_describe__")]
    for one in apps:
        if one.name == app and name in one.endpoints:
            return Endpoint.of(one, name)
    known = [f"{one.name}.{endpoint}" for one in apps for endpoint in one.endpoints]
    raise ConfigError(f"{target} has no endpoint {app}.{name}", f"It has: {', '.join(known) or 'none'}.")


def try_endpoint(target: Any, app: str, name: str, body: bytes, query: bytes = b"") -> bytes:
    """Answer one request in this process; as ``Endpoint.answer``."""
    return open_endpoint(target, app, name).answer(pack_request(query, body))


class Endpoint:
    """Answers requests, in this process. Nothing that the user's code raises leaves it but what is no ``Exception``."""

    def __init__(self, target: Any, spec: EndpointSpec) -> None:
        """Raises ``ConfigError`` for hints that can't be read."""
        offer = read_offer(target, spec)
        self.spec = spec
        self.batched = spec.batch is not None
        self._offer = offer
        self._requests = Requests(offer, spec)
        self._results = Results(offer.result, discreet=spec.auth == "public")
        self._rows = Rows(spec.log) if spec.log is not None else None
        self._hidden = frozenset(spec.log.redact if spec.log else ())
        self._caller = Caller(target, offer)
        self._listed = offer.listed
        self._splits = offer.body == "array" and self._listed is not None and len(offer.parameters) == 1

    @classmethod
    def of(cls, app: Any, name: str) -> Endpoint:
        """From a live ``App``. Raises ``KeyError``, and as the constructor."""
        return cls(app.offered[name], app.endpoints[name])

    def warm(self) -> bytes:
        """Load what the class loads. The answer's body: ``{"models": {"classifier": 3}}``, the versions opened here;
        or a problem whose detail ends with the traceback, for the endpoint's log.
        """
        try:
            self._caller.start()
        except Exception as error:
            trace = format_traceback(error)
            return self._cant_start(error, f"\n{trace[-MAX_TRACEBACK:]}").packed()
        return pack_answer(200, msgspec.json.encode({"models": loaded_versions()}))

    def answer(self, request: bytes) -> bytes:
        """One request, packed as ``core.answers`` says."""
        query, body = unpack_request(request)
        try:
            self._start()
            asked = self._read(query, body)
            if asked.listed is None:
                return self._answer_whole(asked)
            if self._is_long(asked.listed, body) and not is_piece(request):
                return self._in_pieces(body, asked.listed.count)
            return self._answer_items(asked, asked.listed, self._score(asked.arguments, asked.listed.values))
        except Problem as problem:
            return problem.packed()
        except Exception as error:  # a property or a __repr__ of the user's, say
            self._tell(format_traceback(error))
            return self._raised(type(error).__name__ if self._hidden else said(error)).packed()

    def answer_together(self, requests: list[bytes]) -> list[bytes]:
        """Many at once, by one call of the user's function; each as ``answer`` would."""
        answers: dict[int, bytes] = {}
        waiting: dict[int, Listed] = {}
        for number, request in enumerate(requests):
            listed = self._joinable(request)
            if listed is None:
                answers[number] = self.answer(request)
            else:
                waiting[number] = listed
        for group in self._alike(waiting):
            answers |= self._answer_group(requests, {number: waiting[number] for number in group})
        return [answers[number] for number in range(len(requests))]

    def _alike(self, waiting: dict[int, Listed]) -> list[list[int]]:
        """Requests that can be scored together: rows of an array must be of one length."""
        if self._listed is None or self._listed.shape.container != "array":
            return [list(waiting)] if waiting else []
        groups: dict[int, list[int]] = {}
        for number, listed in waiting.items():
            groups.setdefault(row_length(listed.values[0]), []).append(number)
        return list(groups.values())

    def _joinable(self, request: bytes) -> Listed | None:
        """The items of a request that can be scored with those of others."""
        try:
            self._start()
            listed = self._requests.read_list(request) or self._read(*unpack_request(request)).listed
        except Exception:  # answer() says it
            return None
        return None if listed is None or not listed.values or self._is_long(listed, b"-") else listed

    def _answer_group(self, requests: list[bytes], waiting: dict[int, Listed]) -> dict[int, bytes]:
        together = [item for listed in waiting.values() for item in listed.values]
        try:
            results = self._score({}, together)
            texts = self._results.lines(results) if self._rows is None else None
            answers: dict[int, bytes] = {}
            start = 0
            for number, listed in waiting.items():
                end = start + len(listed.values)
                if texts is None or listed.refused:
                    answers[number] = self._answer_items(Asked(listed=listed), listed, results[start:end])
                else:
                    body = b"".join((b"[", b",".join(texts[start:end]), b"]"))
                    answers[number] = pack_answer(200, body, items=end - start)
                start = end
        except Exception:  # because of which of them? each says it by itself
            return {number: self.answer(requests[number]) for number in waiting}
        return answers

    # The parts of an answer

    def _start(self) -> None:
        """Raises ``Problem``."""
        try:
            self._caller.start()
        except Exception as error:
            self._tell(format_traceback(error))
            raise self._cant_start(error) from None

    def _cant_start(self, error: Exception, more: str = "") -> Problem:
        detail = f"{self._offer.name} can't start: {said(error)}{more}"
        return Problem(500, "start", "The endpoint can't start", detail, raised=True)

    def _read(self, query: bytes, body: bytes) -> Asked:
        try:
            return self._requests.read(query, body)
        except NoJson as error:
            raise problems.no_json(body, error) from None
        except Refused as error:
            raise problems.refused(error.faults, query, body, self._hidden) from None

    def _score(self, arguments: dict[str, Any], items: Sequence[Any]) -> list[Any]:
        """A result or ``Failed`` for each. Raises ``Problem``."""
        assert self._listed is not None
        name, told = self._listed.name, 0

        def tell(error: Exception) -> None:
            nonlocal told
            told += 1
            if told <= MOST_TRACEBACKS:
                self._tell(format_traceback(error))

        try:
            found = each(lambda some: self._caller.call_list(arguments, name, some), items, tell)
        except WrongCount as error:
            raise Problem(
                500,
                "result",
                "The endpoint gave no fit result",
                str(error),
                hint="If it answers something else than a result for each item, let it return a dict or a struct.",
                raised=True,
            ) from None
        if told > MOST_TRACEBACKS:
            self._tell(f"… and {told - MOST_TRACEBACKS} more items of this request raised\n")
        return found

    def _answer_items(self, asked: Asked, listed: Listed, results: list[Any]) -> bytes:
        """Results and refusals, each at its item's position."""
        values = results
        if listed.refused:
            left = iter(results)
            values = [listed.refused.get(number) or next(left) for number in range(listed.count)]
        body, values, whole = self._results.many(values)
        flags = 0 if whole else SOME_FAILED
        log = b""
        if self._rows is not None:
            items = listed.spread() if self._rows.looks_at_items else None
            log = self._rows.write(values, self._inputs(asked, listed), asked.arguments, items)
        return pack_answer(200, body, items=listed.count, flags=flags, log=log)

    def _inputs(self, asked: Asked, listed: Listed) -> Sequence[Any] | None:
        """What was given for each item; with what else was given, where there is something."""
        if listed.parts is None or len(asked.sources) <= 1 or self._listed is None:
            return listed.parts
        given = {name: _raw(source) for name, source in asked.sources.items()}
        return [{**given, self._listed.name: part} for part in listed.parts]

    def _answer_whole(self, asked: Asked) -> bytes:
        """Of a request without a list that its answer is aligned with."""
        try:
            result = self._caller.call(asked.arguments)
        except Exception as error:
            self._tell(format_traceback(error))
            raise self._raised(scrubbed(said(error), asked.arguments, self._hidden)) from None
        try:
            if self._offer.layout == "joined":
                return self._answer_joined(asked, [*as_list(result), *asked.refused])
            body = self._results.one(result)
        except Unfit as unfit:
            why = scrubbed(str(unfit), asked.arguments, self._hidden)
            detail = f"{self._offer.name} gave no fit result: {why}."
            raise Problem(500, "result", "The endpoint gave no fit result", detail, raised=True) from None
        if self._offer.layout == "wrapped":
            errors = msgspec.json.encode([bad.as_json() for bad in asked.refused])
            body = b"".join((b'{"result":', body, b',"errors":', errors, b"}"))
        flags = SOME_FAILED if asked.refused else 0
        log = self._rows.write([result], [_given(asked.sources)], asked.arguments) if self._rows else b""
        return pack_answer(200, body, flags=flags, log=log)

    def _raised(self, detail: str) -> Problem:
        return Problem(500, "raised", "The endpoint raised an error", detail, raised=True)

    def _answer_joined(self, asked: Asked, values: list[Any]) -> bytes:
        """A list of results, then an error for each element that was refused. The log's first row has the input."""
        body, values, whole = self._results.many(values)
        inputs = [_given(asked.sources), *[None] * (len(values) - 1)]
        log = self._rows.write(values, inputs[: len(values)], self._common(asked)) if self._rows else b""
        flags = 0 if whole else SOME_FAILED
        return pack_answer(200, body, items=len(values), flags=flags, log=log)

    def _common(self, asked: Asked) -> dict[str, Any]:
        """What the rows of a log have in common. Errors of what was refused may tell redacted values: so these are
        known, too, under a name that no parameter has.
        """
        if not self._hidden:
            return asked.arguments
        return {**asked.arguments, "": msgspec.json.decode(msgspec.json.encode(_given(asked.sources)))}

    def _is_long(self, listed: Listed, body: bytes) -> bool:
        """Whether it is shared out. A list in a query string is not."""
        return self._splits and listed.count > self.spec.chunk and bool(body)

    def _in_pieces(self, body: bytes, count: int) -> bytes:
        parts, size = split_list(body), self.spec.chunk
        pieces = [msgspec.json.encode(parts[start : start + size]) for start in range(0, count, size)]
        return pack_pieces(pieces, count)

    def _tell(self, text: str) -> None:
        """On standard error: it ends up in the endpoint's log, not in an answer."""
        sys.stderr.write(text)
        sys.stderr.flush()


def _raw(given: Any) -> Any:
    return msgspec.Raw(given) if isinstance(given, bytes) else given


def _given(sources: dict[str, Any]) -> Any:
    """What a request gave: its body when that is all, else by parameter."""
    if len(sources) == 1 and isinstance(body := next(iter(sources.values())), bytes):
        return msgspec.Raw(body)
    return {name: _raw(given) for name, given in sources.items()}
