"""The size of files and functions. A function that must be larger has its reason at its head."""

import ast
import re
from pathlib import Path

MAX_FILE_LINES = 350  # a file must stay below
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
COMPILED = re.compile(r"(numba\.njit|kernel|intrinsic)\b")  # kernels take arrays one by one


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions but kernels, nested ones too."""
    found = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f for f in found if not any(COMPILED.match(ast.unparse(d)) for d in f.decorator_list)]


def reasoned(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str], word: str) -> bool:
    """Whether `# word: reason` stands in the line above the function or in its head."""
    first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
    head = lines[max(first - 2, 0) : function.body[0].lineno]
    return any(re.search(rf"# {word}: \w", line) for line in head)


def too_large(path: Path) -> dict[str, list[str]]:
    """{"long": names of functions with too many lines, "parameters": with too many parameters} and no reason."""
    lines = path.read_text().splitlines()
    found: dict[str, list[str]] = {"long": [], "parameters": []}
    for function in functions(path):
        a = function.args
        names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MAX_FUNCTION_LINES and not reasoned(function, lines, "long"):
            found["long"].append(function.name)
        if len(names) > MAX_PARAMETERS and not reasoned(function, lines, "parameters"):
            found["parameters"].append(function.name)
    return found


def names_of(repository: Path, kind: str) -> set[str]:
    package = repository / "pad_ros"
    files = sorted(package.rglob("*.py"))
    return {f"{path.relative_to(package)}: {name}" for path in files for name in too_large(path)[kind]}


def test_files_are_short(repository):
    package = repository / "pad_ros"
    counts = {str(p.relative_to(package)): len(p.read_text().splitlines()) for p in package.rglob("*.py")}
    assert {name for name, count in counts.items() if count >= MAX_FILE_LINES} == set()


def test_functions_are_short(repository):
    assert names_of(repository, "long") == set(), "divide it, or state the reason at its head"


def test_functions_take_few_parameters(repository):
    assert names_of(repository, "parameters") == set(), "divide it, or state the reason at its head"


def test_a_reason_at_the_head_excuses(tmp_path):
    path = tmp_path / "module.py"
    eight = "a, b, c, d, e, f, g, h"
    body = "    x = 1\n" * 60
    path.write_text(
        f"def one({eight}):\n    pass\ndef two({eight}):  # parameters: one per axis\n    pass\n"
        f"class C:\n    def three(self, a, b, c, d, e, f, g):\n        pass\n"
        f"def four():\n{body}# long: a table\ndef five():\n{body}"
        f"@kernel\ndef six({eight}):\n{body}@numba.njit(cache=True)\ndef seven({eight}):\n    pass\n"
    )
    assert too_large(path) == {"long": ["four"], "parameters": ["one"]}
