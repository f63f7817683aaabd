"""Fingerprints: the same for equal values in every process, different for different ones."""

import datetime as dt
import functools
import json
import operator
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.engine.fingerprint import fingerprint, fingerprint_function

VALUES = """
import datetime as dt, functools, operator, re
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pandas as pd

from bursty.engine.fingerprint import fingerprint, fingerprint_function


@dataclass(frozen=True)
class Point:
    x: float
    tags: frozenset = frozenset({"a", "b", "c"})


@dataclass(slots=True)
class Slotted:
    x: int
    names: set = field(default_factory=lambda: {"p", "q", "r"})


class Hue(Enum):
    RED = "r"


class Odd:
    '''Its state is a set.'''

    def __getstate__(self):
        return {"u", "v", "w", "x"}


Pair = namedtuple("Pair", "a b")
words = {"apple", "pear", "plum", "fig", "kiwi"}


def closure(limit):
    def inner(x, *, among=frozenset(words)):
        return x < limit and x in {"one", "two", "three"}

    return inner


def recursive():
    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)

    return fact


scope = {}
exec("def made(x):\\n    return x in {'one', 'two', 'three', 'four'}\\n", scope)  # no source

VALUES = {
    "plain": [None, True, 1, 1.5, 2j, "text", b"bytes", bytearray(b"x"), ..., slice(1, 2)],
    "set": words,
    "dict by set": {word: len(word) for word in words},
    "nested": {"a": [{frozenset({"x", "y"}), (1, "z")}, {"k": {"deep": words}}]},
    "counter": Counter(sorted(words)),
    "containers": [OrderedDict(a=1), defaultdict(list, a=[1]), deque([1, 2], 5), range(3)],
    "numpy": [np.arange(12.0).reshape(3, 4), np.float32(1), np.array(["a", "b"]), np.array([{"x"}], object)],
    "pandas": pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "t": pd.to_datetime(["2026-01-01", "2026-01-02"])}),
    "series": pd.Series([1.5, None], index=["a", "b"], name="s"),
    "dataclasses": [Point(1.0), Slotted(1)],
    "others": [Hue.RED, Pair(1, 2), Decimal("1.10"), UUID(int=5), PurePosixPath("a/b"), dt.date(2026, 1, 1)],
    "state": Odd(),
    "pattern": re.compile("a+", re.I),
    "closure": closure(3),
    "recursive": recursive(),
    "partial": functools.partial(closure(2), among=words),
    "lambda": lambda x: x in {"one", "two", "three"},
    "no source": scope["made"],
    "method": {"a": 1}.get,
    "getter": operator.itemgetter("a", "b"),
    "type": Point,
    "module": dt,
}
"""

SCRIPT = (
    VALUES
    + """
if __name__ == "__main__":
    import json, sys
    found = {name: fingerprint(value) for name, value in VALUES.items()}
    found["itself"] = fingerprint_function(closure)
    json.dump([found, "".join(words)], sys.stdout)
"""
)


def test_equal_values_have_equal_fingerprints_in_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    script = tmp_path / "values.py"
    script.write_text(SCRIPT)
    runs = [
        subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    (one, order), (two, other_order) = (json.loads(run.communicate(timeout=120)[0]) for run in runs)
    assert order != other_order, "the seeds make no difference: the test shows nothing"
    assert {name for name in one if one[name] != two[name]} == set()
    assert len(set(one.values())) == len(one)


@dataclass
class Point:
    x: Any
    y: Any = 0


@dataclass(slots=True)
class Slotted:
    x: Any
    names: set[str] = field(default_factory=set)


class Hue(Enum):
    RED = 1
    BLUE = 2


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return x + self.by

    def add(self, x: int) -> int:
        return x + self.by


class SlottedAdder:
    __slots__ = ("by",)

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return x + self.by


class Outer:
    class Inner:
        pass

    class Other:
        class Inner:
            pass


def adder(by: Any) -> Callable[[int], int]:
    def inner(x: int) -> int:
        return x + by

    return inner


TWO_LAMBDAS = [lambda x: x + 1, lambda x: x + 2]

DIFFERENT: list[tuple[Any, Any]] = [
    (1, 2),
    (1, "1"),
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    ("a", b"a"),
    (b"a", bytearray(b"a")),
    ([1], (1,)),
    ([1, 23], [12, 3]),
    (["ab", "c"], ["a", "bc"]),
    ([[1], 2], [[1, 2]]),
    ([1, [2]], [[1], 2]),
    ([], [[]]),
    ({"a": 1}, {"a": 2}),
    ({"a": "b"}, {"b": "a"}),
    ({1: {2: 3}}, {1: 2, 3: 3}),
    ({"a"}, {"b"}),
    ({"a"}, frozenset({"a"})),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    (defaultdict(list, a=1), defaultdict(int, a=1)),
    (np.arange(3), np.arange(3.0)),
    (np.arange(4), np.arange(4).reshape(2, 2)),
    (np.array([1, 2]), np.array([2, 1])),
    (pd.Series([1, 2]), pd.Series([1, 2], name="a")),
    (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    (Point(1), Point(2)),
    (Slotted(1), Slotted(2)),
    (Slotted(1, {"a"}), Slotted(1, {"b"})),
    ([Point(n) for n in range(40)], [Point(0) for n in range(40)]),
    ([Point(n) for n in range(40)], [Point(min(n, 38)) for n in range(40)]),
    (Hue.RED, Hue.BLUE),
    (re.compile("a"), re.compile("b")),
    (dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
    (int, float),
    (Outer.Inner, Outer.Other.Inner),
    (adder(1), adder(2)),
    (adder(adder(1)), adder(adder(2))),
    (TWO_LAMBDAS[0], TWO_LAMBDAS[1]),
    (functools.partial(pow, 2), functools.partial(pow, 3)),
    (functools.partial(pow, exp=2), functools.partial(pow, exp=3)),
    (functools.partial(adder(1)), functools.partial(adder(2))),
    (Adder(1), Adder(2)),
    (SlottedAdder(1), SlottedAdder(2)),
    (Adder(1).add, Adder(2).add),
    ({"a": 1}.get, {"a": 2}.get),
    ("a,b".split, "c,d".split),
    (operator.itemgetter(1), operator.itemgetter(2)),
    (operator.methodcaller("a"), operator.methodcaller("b")),
    (np.sin, np.cos),
    (len, max),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_different_values_have_different_fingerprints(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)
    if callable(one):
        assert fingerprint_function(one) != fingerprint_function(other)


def test_it_is_no_matter_whether_parts_are_the_same_object() -> None:
    shared = [1, 2]
    assert fingerprint([shared, shared]) == fingerprint([[1, 2], [1, 2]])
    assert fingerprint([Point(shared), Point(shared)]) == fingerprint([Point([1, 2]), Point([1, 2])])
    array = np.arange(3)
    assert fingerprint({"a": array, "b": array}) == fingerprint({"b": np.arange(3), "a": np.arange(3)})


def test_shared_parts_are_not_opened_again_and_again() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]  # 2**60 leaves
    assert fingerprint(value) == fingerprint(value)


def test_rings() -> None:
    def ring(tail: Any) -> list[Any]:
        found: list[Any] = [1, [tail]]
        found[1].append(found)
        return found

    assert fingerprint(ring("a")) == fingerprint(ring("a"))
    assert fingerprint(ring("a")) != fingerprint(ring("b"))


def test_what_has_none_says_why() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RecursionError, match="nested too deeply"):
        fingerprint(deep)
    with pytest.raises(TypeError, match="lock"):
        fingerprint([threading.Lock()])


def load(source: str, folder: Path, name: str = "f") -> Any:
    """A function from a file of its own, as another version of a program has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source))
    scope: dict[str, Any] = {"__name__": "program"}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope[name]


BASE = "def f(x, by=1):\n    return x + by\n"


@pytest.mark.parametrize(
    ("source", "same"),
    [
        (BASE, True),
        ("import os\n\n\n" + BASE, True),  # it moved
        ("if True:\n    def f(x, by=1):\n        return x + by\n", True),  # it was indented
        ("def f(x, by=1):\n    return x - by\n", False),
        ("def f(x, by=2):\n    return x + by\n", False),
        ("ONE = 2\ndef f(x, by=ONE):\n    return x + by\n", False),
    ],
)
def test_a_function_is_its_source_and_defaults(source: str, same: bool, tmp_path: Path) -> None:
    base = fingerprint_function(load(BASE, tmp_path / "one"))
    assert (fingerprint_function(load(source, tmp_path / "two")) == base) is same


CACHED = "import functools\n@functools.lru_cache\ndef f(x):\n    return x + 1\n"
WRAPPED = """
import functools
def twice(inner):
    @functools.wraps(inner)
    def outer(x):
        return 2 * inner(x)
    return outer
@twice
def f(x):
    return x + 1
"""
CALLABLE = "class F:\n    def __call__(self, x):\n        return x + 1\nf = F()\n"
CLASS = "class f:\n    def __init__(self, x):\n        self.x = x + 1\n"


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (CACHED, "x + 1", "x + 2"),
        (WRAPPED, "x + 1", "x + 2"),
        (WRAPPED, "2 * inner", "3 * inner"),
        (CALLABLE, "x + 1", "x + 2"),
        ("f = lambda x: x + 1\n", "x + 1", "x + 2"),
    ],
)
def test_functions_in_wrappers_too(source: str, old: str, new: str, tmp_path: Path) -> None:
    one, again = load(source, tmp_path / "one"), load(source, tmp_path / "two")
    changed = load(source.replace(old, new), tmp_path / "three")
    assert fingerprint_function(one) == fingerprint_function(again) != fingerprint_function(changed)


def test_a_class_is_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    for number, source in enumerate([CLASS, CLASS, CLASS.replace("x + 1", "x + 2")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "program_of_a_class.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "program_of_a_class", raising=False)
        found.append(fingerprint_function(__import__("program_of_a_class").f))
    monkeypatch.delitem(sys.modules, "program_of_a_class")
    assert found[0] == found[1] != found[2]


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(allow_nan=False)
)
hashable = st.recursive(leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


def rebuilt(value: Any) -> Any:
    """Equal, of the same types, and no object shared; sets and dicts in another order."""
    match value:
        case list() | tuple() | set() | frozenset():
            items = [rebuilt(item) for item in value]
            return type(value)(reversed(items) if isinstance(value, set | frozenset) else items)
        case dict():
            return {rebuilt(key): rebuilt(item) for key, item in reversed(value.items())}
        case Point():
            return Point(rebuilt(value.x), rebuilt(value.y))
        case str():
            return "".join(list(value))
        case _:
            return value


@given(values)
def test_equal_values_have_equal_fingerprints(value: Any) -> None:
    assert fingerprint(value) == fingerprint(rebuilt(value))


@given(values, values)
def test_values_that_differ_have_fingerprints_that_differ(one: Any, other: Any) -> None:
    if one != other:
        assert fingerprint(one) != fingerprint(other)
    assert fingerprint([one, other]) != fingerprint([[one, other]])


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_lists_of_instances_are_equal_when_their_instances_are(one: list[int], other: list[int]) -> None:
    """Instances are looked at through short-lived tuples, which get the same address again and again."""
    same = fingerprint([Point(n) for n in one]) == fingerprint([Point(n) for n in other])
    assert same is (one == other)
