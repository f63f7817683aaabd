"""Requests as arguments of the user's function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import parse_qs

import msgspec

from bursty.endpoints import EndpointSpec
from bursty.forms.offer_codec import reader_of
from bursty.forms.offer_read import Fault, NoJson, Refused
from bursty.forms.offer_signature import MISSING, Offer, Parameter, pointer
from bursty.runtime.endpoint_lists import Failed, Listed, ListReader, ObjectReader, located, split_object
from bursty.runtime.endpoint_problems import Problem

Texts = Mapping[str, list[str]]


@dataclass(slots=True)
class Asked:
    """A request, read. ``listed``: the elements of the list that the answer is aligned with; they are not among the
    ``arguments``. ``refused``: elements of other lists. ``sources``: what was given, for the log: JSON, or values.
    """

    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    listed: Listed | None = None
    refused: list[Failed] = field(default_factory=list[Failed])
    sources: dict[str, Any] = field(default_factory=dict[str, Any])


class _Slot(Protocol):
    """Reads one parameter into ``Asked``."""

    def json(self, asked: Asked, data: bytes | msgspec.Raw) -> None: ...

    def texts(self, asked: Asked, texts: list[str]) -> None: ...


class Requests:
    """Reads the requests of one endpoint."""

    def __init__(self, offer: Offer, spec: EndpointSpec) -> None:
        self._offer = offer
        keep = spec.log is not None and spec.log.inputs
        self._slots = [(one, _place(offer, one), _slot(offer, one, keep)) for one in offer.parameters]
        self._in_fields = offer.body == "fields"
        self._list = _only_list(offer) if not keep else None

    def read_list(self, request: bytes) -> Listed | None:
        """The short way of a request, as packed, that is nothing but the list, and of which nothing is kept for the
        log. ``None``: ``read`` must look closer. Raises ``Refused`` and ``NoJson``."""
        if self._list is None or request[:3] != b"R\n[" or not request.isascii():
            return None
        return self._list.json(request[2:], False)

    def read(self, query: bytes, body: bytes) -> Asked:
        """Raises ``NoJson``, ``Problem``, and ``Refused`` when the request as a whole can't be taken."""
        if not body.isascii():
            _check_utf8(body)
        texts: Texts = _texts(query) if query else {}
        body = body if body[:1] in b"[{" else body.strip()
        fields: Mapping[str, msgspec.Raw] = split_object(body) if body and self._in_fields else {}
        asked, faults = Asked(), list[Fault]()
        for one, place, slot in self._slots:
            data = None if one.place == "path" else (fields.get(one.name) if place else body or None)
            try:
                if data is not None:
                    slot.json(asked, data)
                elif one.name in texts:
                    slot.texts(asked, texts[one.name])
                elif one.default is MISSING:
                    faults.append(Fault(place, "is missing"))
                else:
                    asked.arguments[one.name] = one.default
            except Refused as refused:
                faults += [Fault(place + fault.pointer, fault.message) for fault in refused.faults]
        if faults:
            raise Refused(faults)
        return asked


def _place(offer: Offer, one: Parameter) -> str:
    """Pointer to the parameter; the root for one that is the whole body."""
    return "" if offer.body in ("array", "object") and one.place != "path" else pointer(one.name)


def _slot(offer: Offer, one: Parameter, keep: bool) -> _Slot:
    if one.shape.kind == "list":
        return _ListSlot(one, _place(offer, one), one is offer.listed, keep)
    if one.shape.kind == "object":
        return _ObjectSlot(one, offer.lists if offer.body == "object" else {})
    return _ValueSlot(one)


def _only_list(offer: Offer) -> ListReader | None:
    """Of an endpoint whose requests are one list, each item of which is answered."""
    one = offer.listed
    if one is None or len(offer.parameters) > 1 or offer.body != "array":
        return None
    return ListReader(one.shape, spare_empty=True)


class _ValueSlot:
    def __init__(self, one: Parameter) -> None:
        self._name = one.name
        self._reader = reader_of(one.shape.reads)
        self._null = one.default is None and not one.shape.nullable  # x: int = None

    def json(self, asked: Asked, data: bytes | msgspec.Raw) -> None:
        asked.sources[self._name] = data
        if self._null and bytes(data) == b"null":
            asked.arguments[self._name] = None
        else:
            asked.arguments[self._name] = self._reader.read(data)

    def texts(self, asked: Asked, texts: list[str]) -> None:
        asked.sources[self._name] = asked.arguments[self._name] = self._reader.convert(texts[0])


class _ObjectSlot(_ValueSlot):
    def __init__(self, one: Parameter, lists: Mapping[str, Any]) -> None:
        super().__init__(one)
        self._object = ObjectReader(one.shape, lists)

    def json(self, asked: Asked, data: bytes | msgspec.Raw) -> None:
        asked.sources[self._name] = data
        asked.arguments[self._name], refused = self._object.json(data)
        asked.refused += refused

    def texts(self, asked: Asked, texts: list[str]) -> None:
        raise Refused([Fault("", "must stand in the body")])


class _ListSlot:
    def __init__(self, one: Parameter, place: str, aligned: bool, keep: bool) -> None:
        self._name, self._place = one.name, place
        self._aligned, self._keep = aligned, keep and aligned
        self._reader = ListReader(one.shape, spare_empty=aligned)

    def json(self, asked: Asked, data: bytes | msgspec.Raw) -> None:
        asked.sources[self._name] = data
        self._take(asked, self._reader.json(data, self._keep))

    def texts(self, asked: Asked, texts: list[str]) -> None:
        listed = self._reader.texts(texts)
        asked.sources[self._name] = listed.values
        self._take(asked, listed)

    def _take(self, asked: Asked, listed: Listed | None) -> None:
        if listed is not None and self._aligned:
            asked.listed = listed
            return
        asked.arguments[self._name] = None if listed is None else listed.values
        if listed is not None:
            asked.refused += located(self._place, listed.refused)


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NoJson("it is not UTF-8", error.start) from None


def _texts(query: bytes) -> Texts:
    try:
        return cast(Texts, parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError:
        title = "The query string can't be read"
        raise Problem(400, "query", title, "The query string is not UTF-8, percent-encoded.") from None
