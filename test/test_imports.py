"""The order of the package: imports run down one list, never in a circle, and ROS stays with the nodes and the demo.

Every import counts, those for type checking and those inside functions too. Each exception has its reason, and a test
fails as soon as it is no longer needed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = (
    "errors", "progress", "resources", "verdicts", "settings", "compute", "imaging", "io", "networks", "rendering",
    "photometry", "localization", "comparison", "decision", "methods", "model", "inspector", "training", "reporting",
    "changes", "evaluation", "scale_out", "station", "plant", "nodes.support", "nodes", "demo", "commands", "cli",
)  # fmt: skip
ROS = re.compile(r"(rclpy|\w+_msgs|\w+_interfaces|pad_ros\.(msg|srv))(\.|$)")


@pytest.fixture(scope="module")
def imports(repository: Path) -> dict[str, set[str]]:
    """Module of the package -> what it imports: modules of the package without its name, all others in full."""
    files = {}
    for path in sorted((repository / "pad_ros").rglob("*.py")):
        parts = path.relative_to(repository / "pad_ros").with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {module: set(imported(module, path, set(files))) for module, path in files.items()}


def imported(module: str, path: Path, modules: set[str]) -> Iterator[str]:
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            for alias in node.names:
                names = [part for part in (*base, alias.name) if part]
                yield ".".join(names) if ".".join(names) in modules else ".".join(names[:-1])


def layer(module: str) -> int:
    """The place in ORDER of the longest name that the module's begins with."""
    names = [name for name in ORDER if f"{module}.".startswith(f"{name}.")]
    assert names, f"{module}: has no place in the order of imports"
    return ORDER.index(max(names, key=len))


def in_circles(imports: dict[str, set[str]]) -> set[str]:
    """The modules from which imports lead back to themselves."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            new = (imports[left.pop()] & imports.keys()) - found
            found |= new
            left += new
        return found

    return {module for module in imports if module in reached(module)}


def upwards(imports: dict[str, set[str]]) -> set[tuple[str, str]]:
    known = imports.keys() - {""}  # "" is the package itself, with its version
    return {(m, other) for m in known for other in imports[m] & known if layer(other) > layer(m)}


def test_imports_run_downwards(imports):
    assert upwards(imports) == set()


def test_imports_run_in_no_circle(imports):
    assert in_circles(imports) == set()


def test_only_nodes_and_the_demo_import_ros(imports):
    """So all else runs on a machine without ROS."""
    for module, others in imports.items():
        if module.split(".")[0] not in ("nodes", "demo"):
            assert not [other for other in others if ROS.match(other)], module


def test_the_check_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "view.py"
    path.write_text(
        "import rclpy.node\nfrom std_msgs.msg import Header\nfrom .. import errors\nfrom ..io import bags, read\n"
        "if TYPE_CHECKING:\n    from . import images\ndef late():\n    from pad_ros.msg import Trigger\n"
    )
    found = set(imported("imaging.view", path, {"errors", "io", "io.bags", "imaging.images"}))
    assert {"errors", "io", "io.bags", "imaging.images"} < found
    assert {other for other in found if ROS.match(other)} == {
        "rclpy.node", "std_msgs.msg.Header", "pad_ros.msg.Trigger"}  # fmt: skip
    loop = {"a": {"b", "torch"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert in_circles(loop) == set("abc")
