"""Hygiene: the locks, what an import costs, what must not be in the repository, and the checks' own teeth."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

# What each import loads of bursty and of others' packages, beyond the standard library. Loading more costs every
# worker's start; a name is added here in the commit that means to load it.
IMPORTS_OF_BURSTY = {"bursty", "bursty.interop", "bursty.ports", "bursty.slots"}
IMPORTS_OF_RUNTIME = {
    "bursty",
    "bursty.core",
    "bursty.core.answers",
    "bursty.errors",
    "bursty.interop",
    "bursty.ports",
    "bursty.runtime",
    "bursty.runtime.describe",
    "bursty.runtime.diagnose",
    "bursty.runtime.execute",
    "bursty.runtime.faults",
    "bursty.runtime.host",
    "bursty.runtime.journal",
    "bursty.runtime.pickling",
    "bursty.runtime.recent",
    "bursty.slots",
    "bursty.values",
    "cloudpickle",
}
# Parts of the standard library that cost tens of milliseconds each.
HEAVY = {
    "asyncio",
    "multiprocessing",
    "unittest",
    "xml",
    "http.client",
    "urllib.request",
    "sqlite3",
    "email",
    "distutils",
}

LOCKS = ["requirements.lock", "requirements-demo.lock"]

# Written so that this file does not contain what it looks for.
FORBIDDEN = [
    re.compile(pattern)
    for pattern in (
        r"(?i)pypi\." + r"org",
        r"(?i)python" + r"hosted",
        r"(?i)registry\." + r"npmjs",
        r"(?<!\w)/wo" + r"rk/",
        r"(?<!\w)/ro" + r"ot/",
        r"(?<!\w)/home/" + r"\w+/",
        r"(?<!\w)/opt/" + r"(wheels|pypi)",
    )
]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    # -I keeps the current folder and PYTHON* variables out, and leaves the installed bursty in.
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def foreign(modules: set[str]) -> set[str]:
    """bursty's modules in full, others by their top name; the standard library left out."""
    names = {name if name.partition(".")[0] == "bursty" else name.partition(".")[0] for name in modules}
    return {name for name in names if name not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("module", "pinned"),
    [("bursty", IMPORTS_OF_BURSTY), ("bursty.runtime", IMPORTS_OF_RUNTIME)],
    ids=["bursty", "runtime"],
)
def test_an_import_loads_only_what_is_pinned(module: str, pinned: set[str]) -> None:
    modules = loaded_by(f"import {module}")
    assert foreign(modules) == pinned
    assert not modules & HEAVY


def test_lock_names_no_host_and_hashes_everything(root: Path) -> None:
    for name in LOCKS:
        text = (root / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text
        entries = re.findall(r"^[a-z0-9][\w.-]*==.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)*", text, re.MULTILINE)
        assert len(entries) > 20
        assert all("--hash=sha256:" in entry for entry in entries)


def pins(text: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9][\w.-]*==[^ \\]+", text, re.MULTILINE))


def test_locks_agree_with_each_other_and_with_pyproject(root: Path) -> None:
    full, demo = (pins((root / name).read_text()) for name in LOCKS)
    assert demo <= full
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=\[ ;]", requirement)[0] for requirement in project["dependencies"]}
    assert wanted <= {pin.partition("==")[0] for pin in demo}


def test_the_version_is_one(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert version("bursty") == project["version"]
    assert f"## {project['version']}" in (root / "CHANGELOG.md").read_text()


def test_cli_tells_its_version() -> None:
    command = Path(sys.executable).with_name("bursty")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert version("bursty") in done.stdout


def tracked(root: Path) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [root / name for name in listed.stdout.split("\0") if name]


def test_repository_holds_no_addresses_of_indexes_nor_paths_of_machines(root: Path) -> None:
    found: list[str] = []
    for path in tracked(root):
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [f"{path.relative_to(root)}: {hit.group()}" for rule in FORBIDDEN if (hit := rule.search(text))]
    assert not found


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    pages = [path for path in tracked(root) if path.suffix == ".md" and path.exists()]
    assert pages
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), (
                    f"{page.relative_to(root)} links to {target}, which is not there"
                )


@pytest.fixture(scope="module")
def checker(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_imports", root / "tools" / "check_imports.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAZY_IMPORTS = {
    "in a function": "def f():\n    from bursty import b",
    "relative": "def f():\n    from . import b",
    "relative, a name": "def f():\n    from .b import x",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bursty.b",
    "by name": "def f():\n    return importlib.import_module('bursty.b')",
    "by relative name": "def f():\n    return import_module('.b', __package__)",
    "in a table": "NAMES = {'x': 'bursty.b:x'}",
}


@pytest.mark.parametrize("source", LAZY_IMPORTS.values(), ids=LAZY_IMPORTS)
def test_cycle_check_sees_lazy_imports(source: str, checker: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "src" / "bursty"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "b.py").write_text("x = 1\n")
    (package / "a.py").write_text(source)
    assert checker.main(tmp_path / "src") == 0
    (package / "b.py").write_text("import bursty.c\n")
    (package / "c.py").write_text("from bursty.a import f\n")
    assert checker.main(tmp_path / "src") == 1


def test_length_check_fails_a_long_file(checker: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "src" / "bursty"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n" * 400)
    assert checker.main(tmp_path / "src") == 0
    (package / "__init__.py").write_text("x = 1\n" * 401)
    assert checker.main(tmp_path / "src") == 1


@pytest.mark.parametrize("script", ["tools/bootstrap", "tools/lock", "tools/system-packages"])
def test_scripts_are_posix_shell(script: str, root: Path) -> None:
    done = subprocess.run(["sh", "-n", root / script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
