"""The rules of the house: who imports whom, what stays light, and how long things may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fastlin"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the lowest to the highest. A module imports from its own package, and from lower layers.
LAYERS = (
    ("errors",),
    ("packages",),
    ("settings", "files"),
    ("losses", "class_weights", "fitting"),
    ("config",),
    ("data",),
    ("model_arrays",),
    ("model", "reference", "metrics", "label_errors"),
    ("matching", "kernels", "history", "compilation"),
    ("threads", "machine", "history_file", "model_file"),
    ("engine", "cluster"),
    ("passes",),
    ("moments",),
    ("functional",),
    ("training",),
    ("solving",),
    ("search",),
    ("summaries",),
    ("runs",),
    ("export", "estimators", "figures", "predictions"),
    ("report",),
    ("commands",),
    ("__init__", "__main__"),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# What a function of a lower layer imports when it is called: a model computes its scores.
WHEN_CALLED = {("model", "functional"), ("model", "matching"), ("model", "export")}

LIGHT = ("config", "data", "errors", "files", "fitting", "history", "history_file", "losses",
         "machine", "metrics", "model", "reference", "runs", "settings", "summaries")  # fmt: skip

# What is longer than allowed, with its lines. It may only become shorter, and then leaves the list.
MOST_LINES, LONG_MODULES = 400, {
    "kernels/simd.py": 682,
}  # fmt: skip
MOST_LINES_OF_FUNCTION, LONG_FUNCTIONS = 60, {
}  # fmt: skip


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def room_of(path):
    """Return the module or package right below fastlin that a file is, or is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree, *, when_called=False):
    """Give the fastlin modules that are imported, and whether inside of a function."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, when_called
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name the whole path"
            if node.module == "fastlin":
                for alias in node.names:
                    yield f"fastlin.{alias.name}", when_called
            else:
                yield node.module, when_called
        else:
            inside = when_called or isinstance(node, ast.FunctionDef)
            yield from imports(node, when_called=inside)


def forbidden(path, source):
    """Return the imports of a file that go to its own layer or a higher one."""
    room = room_of(path)
    found = []
    for module, when_called in imports(ast.parse(source)):
        top, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if top != "fastlin" or other in {"", room} or other.startswith("__version"):
            continue
        assert other in RANKS, f"{module} has no layer yet: give it one"
        is_lower = RANKS[other] < RANKS[room]
        if not is_lower and not (when_called and (room, other) in WHEN_CALLED):
            found.append(f"{name_of(path)} imports {module}")
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path):
    assert room_of(path) in RANKS, f"{name_of(path)} has no layer yet: give it one"
    assert forbidden(path, path.read_text(encoding="utf-8")) == []


def test_a_forbidden_import_is_found():
    path = PACKAGE / "training" / "trainer.py"
    for line in ("import fastlin.report.page", "from fastlin import runs",
                 "from fastlin.search.spec import GridSpec",
                 "def f():\n    from fastlin.commands import main"):  # fmt: skip
        assert len(forbidden(path, line)) == 1
    for line in ("from fastlin.training import state", "import numpy", "from fastlin import data",
                 "if TYPE_CHECKING:\n    from fastlin import runs"):  # fmt: skip
        assert forbidden(path, line) == []
    assert forbidden(PACKAGE / "model.py", "def f():\n    from fastlin import functional") == []
    assert len(forbidden(PACKAGE / "model.py", "from fastlin import functional")) == 1


def run(code):
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_what_reads_and_describes_loads_no_compiler():
    modules = [
        ".".join(["fastlin", *path.relative_to(PACKAGE).with_suffix("").parts])
        for path in FILES
        if room_of(path) in LIGHT
    ]
    code = f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\n"
    assert run(code + "print({'numba', 'matplotlib'} & sys.modules.keys())") == "set()\n"
    assert len(modules) > 20


def test_the_list_of_commands_loads_none_of_them():
    code = "import sys; from fastlin.commands import main, COMMANDS\n"
    code += "try: main(['--help'])\nfinally: print(sorted(set(COMMANDS) & {"
    code += "name.rpartition('.')[2] for name in sys.modules if name.startswith('fastlin.c')}))"
    found = run(code)
    assert found.endswith("\n[]\n")
    assert "gradcheck  Compare" in found


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["grid", "--help"]])
def test_help_loads_nothing_that_takes_time(words):
    code = f"""
import sys, fastlin
from fastlin.commands import main
try:
    main({words})
finally:
    assert not {{"numba", "matplotlib", "numpy", "requests", "jinja2"}} & sys.modules.keys()
"""
    assert "Usage:" in run(code)


def too_long():
    modules, functions = {}, {}
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        modules[name_of(path)] = source.count("\n")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                key = f"{name_of(path)} {node.name}"
                lines = node.end_lineno - node.lineno + 1
                functions[key] = max(lines, functions.get(key, 0))
    return (
        {name: lines for name, lines in modules.items() if lines > MOST_LINES},
        {name: lines for name, lines in functions.items() if lines > MOST_LINES_OF_FUNCTION},
    )


def test_modules_and_functions_fit_on_a_few_screens():
    for found, listed in zip(too_long(), (LONG_MODULES, LONG_FUNCTIONS), strict=True):
        longer = {name: n for name, n in found.items() if n > listed.get(name, 0)}
        assert longer == {}, "split them"
        assert listed.keys() - found.keys() == set(), "short enough now: take them off the list"
