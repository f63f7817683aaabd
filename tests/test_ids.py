"""Ids: in the order in which they were made, and never the same twice."""

from __future__ import annotations

import os
import uuid

from bursty.ids import new_id


def test_ids_are_uuids_in_order_and_all_different() -> None:
    found = [new_id() for _ in range(5000)]
    assert found == sorted(set(found))
    parsed = [uuid.UUID(one) for one in found]
    assert {one.version for one in parsed} == {7}
    assert {one.variant for one in parsed} == {uuid.RFC_4122}
    assert [str(one) for one in parsed] == found
    assert len({one.int & ((1 << 62) - 1) for one in parsed}) == len(found), "what is chance in them differs"


def test_a_fork_goes_on_with_other_ids() -> None:
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "".join(new_id()[-17:] for _ in range(100)).encode())
        os._exit(0)
    ours = {new_id()[-17:] for _ in range(100)}
    os.waitpid(child, 0)
    theirs = os.read(reader, 1 << 16).decode()
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 1700
    assert ours.isdisjoint(theirs[start : start + 17] for start in range(0, 1700, 17))
