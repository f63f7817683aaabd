"""Fail on an import cycle between modules of bursty, and on a file over 400 lines (DESIGN section 4).

Lazy imports count: those inside functions, those by name (``import_module("bursty.x")``) and those in a module's tables
of names (``{"Executor": "bursty.engine:Executor"}``, as the lazy public names and wiring have them). Only imports under
``TYPE_CHECKING`` would not run, and they count too: a module that needs them knows too much.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "bursty"
MAX_LINES = 400
IMPORTERS = {"import_module", "__import__", "find_spec"}

Graph = dict[str, set[str]]


def module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_graph(source: Path) -> Graph:
    """Every module under ``source`` with the modules that it imports, at once or lazily."""
    paths = {module_name(path, source): path for path in sorted((source / PACKAGE).rglob("*.py"))}
    return {name: imports(name, path, set(paths)) - {name} for name, path in paths.items()}


def imports(name: str, path: Path, modules: set[str]) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found = {module for node in ast.walk(tree) for module in imported_by(node, package, modules)}
    return found | {module for text in tables_of(tree) if (module := text.partition(":")[0]) in modules - {PACKAGE}}


def imported_by(node: ast.AST, package: str, modules: set[str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names if alias.name in modules)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = absolute(module, level, package)
            for alias in names:
                target = f"{base}.{alias.name}"
                if (target if target in modules else base) in modules:
                    yield target if target in modules else base
        case ast.Call(
            func=ast.Name(id=function) | ast.Attribute(attr=function), args=[ast.Constant(value=str(text)), *_]
        ):
            if function in IMPORTERS and (target := absolute_name(text, package)) in modules:
                yield target
        case _:
            pass


def absolute(module: str | None, level: int, package: str) -> str:
    if not level:
        return module or ""
    parts = package.split(".")
    return ".".join(parts[: len(parts) - level + 1] + ([module] if module else []))


def absolute_name(text: str, package: str) -> str:
    name = text.lstrip(".")
    return absolute(name, len(text) - len(name), package)


def tables_of(tree: ast.Module) -> Iterator[str]:
    """The strings in dicts, tuples and lists that a module assigns at its top level."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Dict | ast.Tuple | ast.List | ast.Set):
                    inner = [*getattr(node, "keys", ()), *getattr(node, "values", ()), *getattr(node, "elts", ())]
                    yield from (i.value for i in inner if isinstance(i, ast.Constant) and isinstance(i.value, str))


def cycles(graph: Graph) -> list[list[str]]:
    """One shortest cycle for every strongly connected knot of modules."""
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in sorted(graph):
        if start not in seen and (cycle := shortest_cycle(graph, start)):
            found.append(cycle)
            seen.update(cycle)
    return found


def shortest_cycle(graph: Graph, start: str) -> list[str]:
    paths = [[start]]
    visited: set[str] = set()
    while paths:
        path = paths.pop(0)
        for following in sorted(graph[path[-1]]):
            if following == start:
                return path
            if following not in visited:
                visited.add(following)
                paths.append([*path, following])
    return []


def long_files(source: Path) -> list[str]:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(source.rglob("*.py"))}
    return [f"{path.relative_to(source.parent)}: {n} lines" for path, n in lengths.items() if n > MAX_LINES]


def main(source: Path = SOURCE) -> int:
    graph = read_graph(source)
    problems = [f"import cycle: {' -> '.join([*cycle, cycle[0]])}" for cycle in cycles(graph)]
    problems += [f"{file}, at most {MAX_LINES}: split it by what changes together" for file in long_files(source)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(graph)} modules, {sum(map(len, graph.values()))} imports between them, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
