"""Tokens: what they allow, the registry, the command line."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bursty.cli.main import app as commands
from bursty.core.tokens import KINDS, Token, allows, check_scopes, digest_of, token_text
from bursty.errors import ConfigError, StoreError
from bursty.jobs.tokens import KIND, Tokens
from bursty.stores.memory import MemoryState

PATHS = st.sampled_from(["/", "/rank", "/rank/{user}", "/ranking", "/tools"])
SCOPES = st.one_of(
    st.sampled_from([*KINDS, "*"]),
    st.builds("{}:{}".format, st.sampled_from(["predict", "mount"]), PATHS),
)


@given(st.lists(SCOPES), SCOPES.filter(lambda scope: scope != "*"))
def test_a_scope_allows_itself_its_kind_or_all(scopes: list[str], needed: str) -> None:
    assert allows(scopes, needed) == any(one in ("*", needed, needed.split(":")[0]) for one in scopes)


def test_a_path_allows_neither_what_lies_below_nor_what_begins_so() -> None:
    assert not allows(["predict:/rank"], "predict:/rank/{user}")
    assert not allows(["predict:/rank"], "predict:/ranking")
    assert not allows(["predict:/rank"], "predict")
    assert not allows(["predict"], "mount:/rank")
    assert not allows([], "metrics")


@given(st.sets(SCOPES, min_size=1))
def test_scopes_are_checked_and_sorted(scopes: set[str]) -> None:
    assert check_scopes([*scopes, *scopes]) == tuple(sorted(scopes))


@pytest.mark.parametrize(
    "scope", ["", "predct", "labels:/x", "predict:", "predict:rank", "*:/", "predict:/a b", "Predict"]
)
def test_what_is_no_scope(scope: str) -> None:
    with pytest.raises(ConfigError, match="is no scope"):
        check_scopes(["predict", scope])


def test_a_near_miss_is_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'predict'"):
        check_scopes(["predct"])


@given(st.binary(min_size=32, max_size=32))
def test_a_token_holds_all_of_its_chance(chance: bytes) -> None:
    text = token_text(chance)
    assert re.fullmatch(r"bst_[A-Za-z0-9_-]{43}", text)
    assert base64.urlsafe_b64decode(text.removeprefix("bst_") + "=") == chance
    assert digest_of(text.encode()) == hashlib.sha256(text.encode()).hexdigest()


def test_a_token_takes_enough_chance() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        token_text(b"short")


# The registry


def test_made_listed_revoked_and_made_again() -> None:
    state = MemoryState()
    tokens = Tokens(state, "ann")
    token, text = tokens.create("web", ["predict", "labels"], 3600)
    assert text.endswith(token.last)
    assert (token.scopes, token.created_by, token.digest) == (("labels", "predict"), "ann", digest_of(text.encode()))
    assert token.expires_at == pytest.approx(token.created_at + 3600)
    assert tokens.list() == [token]
    with pytest.raises(ConfigError, match="there is a token 'web'"):
        tokens.create("web", ["predict"])
    revoked = Tokens(state, "bob").revoke("web")
    assert (revoked.revoked_by, revoked.is_live(state.now())) == ("bob", False)
    assert Tokens(state, "eve").revoke("web") == revoked
    again, _ = tokens.create("web", ["metrics"])
    assert tokens.list() == [again]
    assert again.digest != token.digest
    told = [(event.kind, event.actor) for event in tokens.history("web")]
    assert told == [("created", "ann"), ("revoked", "bob"), ("created", "ann")]


def test_nothing_that_is_kept_tells_the_token() -> None:
    state = MemoryState()
    tokens = Tokens(state, "ann")
    _, text = tokens.create("web", ["predict"])
    kept = json.dumps([dict(one.data) for one in state.documents(KIND)])
    kept += json.dumps([dict(event.data) for event in tokens.history("web")])
    assert text not in kept
    assert text[:-4] not in kept
    assert digest_of(text.encode()) not in json.dumps([dict(event.data) for event in tokens.history("web")])


def test_an_expired_name_is_free_again() -> None:
    state = MemoryState()
    tokens = Tokens(state, "ann")
    first, _ = tokens.create("web", ["predict"], 1e-9)
    assert not first.is_live(state.now() + 1)
    second, _ = tokens.create("web", ["predict"])
    assert tokens.list() == [second]


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "ü"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="can't name a token"):
        Tokens(MemoryState(), "ann").create(name, ["predict"])


def test_a_token_that_is_not_there() -> None:
    tokens = Tokens(MemoryState(), "ann")
    tokens.create("web", ["predict"])
    with pytest.raises(ConfigError, match=r"no token 'wob'[\s\S]*Known: web"):
        tokens.revoke("wob")


class Repeating(MemoryState):
    """The answer to a write is lost, so it is made again, and refused: it was done, or by somebody else."""

    instead: Mapping[str, Any] | None = None

    def put_document(self, kind: str, key: str, data: Mapping[str, Any], **how: Any) -> Any:
        super().put_document(kind, key, self.instead or data, **how)
        return super().put_document(kind, key, data, **how)


def test_a_lost_answer_is_no_failure() -> None:
    tokens = Tokens(Repeating(), "ann")
    token, _ = tokens.create("web", ["predict"])
    assert tokens.list() == [token]


def test_two_who_make_the_same_name_at_once() -> None:
    state = Repeating()
    other, _ = Tokens(MemoryState(), "bob").create("web", ["predict"])
    state.instead = {name: getattr(other, name) for name in Token.__dataclass_fields__ if name != "name"}
    with pytest.raises(ConfigError, match="somebody else"):
        Tokens(state, "ann").create("web", ["predict"])


def test_what_another_version_wrote_is_an_error_in_words() -> None:
    state = MemoryState()
    state.put_document(KIND, "web", {"scopes": [], "colour": "red"}, rev=0)
    with pytest.raises(StoreError, match="token 'web'"):
        Tokens(state, "ann").list()


# The command line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BURSTY_USER", "ann")
    for name in ("STATE", "BLOBS", "HOME"):
        monkeypatch.delenv(f"BURSTY_{name}", raising=False)
    return lambda *arguments: CliRunner().invoke(commands, ["tokens", *arguments])


def test_stdout_has_the_token_and_nothing_else(run: Any) -> None:
    made = run("create", "web", "--scope", "predict:/rank", "-s", "labels", "--expires", "90 days")
    assert re.fullmatch(r"bst_[\w-]{43}\n", made.stdout)
    assert "web allows labels, predict:/rank, expires in" in " ".join(made.stderr.split())
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["name"], listed["scopes"], listed["created_by"]) == ("web", ["labels", "predict:/rank"], "ann")
    assert listed["last"] == made.stdout.strip()[-4:]
    assert made.stdout.strip() not in run("list").stdout + run("list", "--json").stdout


def test_listed_in_words_and_revoked(run: Any) -> None:
    assert "no tokens yet" in run().stderr
    run("create", "web", "-s", "predict")
    assert re.search(r"web +….{4} +predict +✓ does not expire", run().stdout)
    assert "is revoked; servers refuse it within 2 s" in run("revoke", "web").stdout
    assert re.search(r"web .*✗ revoked", run("list").stdout)
    assert json.loads(run("revoke", "web", "--json").stdout)["revoked_by"] == "ann"


def test_made_for_programs(run: Any) -> None:
    made = json.loads(run("create", "web", "-s", "*", "--json").stdout)
    assert made["token"].startswith("bst_")
    assert made["expires_at"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "web"), "allows nothing"),
        (("create", "web", "-s", "all"), "is no scope"),
        (("create", "web", "-s", "predict", "--expires", "soon"), "'soon' is no time"),
        (("revoke", "web"), "there is no token"),
    ],
)
def test_mistakes_are_told(run: Any, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert words in result.exception.message
