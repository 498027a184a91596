"""The package itself: its metadata agree, and colcon builds it as any ROS package."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pad_ros


def test_version_and_name_agree_everywhere(repository):
    package = ElementTree.parse(repository / "package.xml").getroot()
    assert package.findtext("name") == "pad_ros"
    assert package.findtext("version") == pad_ros.__version__
    assert f'version="{pad_ros.__version__}"' in (repository / "setup.py").read_text()
    assert package.findtext("license") == "Apache-2.0"
    assert "Apache License" in (repository / "LICENSE").read_text()


def test_interfaces_are_listed_in_cmake(repository):
    listed = re.findall(r"(?:msg|srv)/\w+\.(?:msg|srv)", (repository / "CMakeLists.txt").read_text())
    there = [f"{p.parent.name}/{p.name}" for kind in ("msg", "srv") for p in (repository / kind).iterdir()]
    assert sorted(listed) == sorted(there)


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports absolutely."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_everything_imported_is_a_declared_dependency(repository):
    """Names of third-party modules that the library imports, against setup.py."""
    names = {"cv2": "opencv-python-headless", "yaml": "pyyaml"}
    setup = (repository / "setup.py").read_text()
    ros = re.compile(r"rclpy|launch|launch_ros|\w+_msgs|\w+_interfaces")  # in package.xml
    comes_with_another = {"llvmlite", "markupsafe"}  # numba, jinja2
    for path in (repository / "pad_ros").rglob("*.py"):
        for module in imported(path):
            if module in sys.stdlib_module_names or module in comes_with_another or module == "pad_ros":
                continue
            if not ros.fullmatch(module):
                assert f'"{names.get(module, module)}>=' in setup, f"{path}: {module}"


def test_the_library_is_free_of_ros(repository):
    """Everything outside nodes/ imports without ROS (`pad demo` imports it only to run the nodes)."""
    ros = re.compile(r"^(?:from|import) (?:rclpy|\w+_msgs|pad_ros\.(?:msg|srv)|\.+(?:msg|srv))\b", re.MULTILINE)
    for path in (repository / "pad_ros").rglob("*.py"):
        if "nodes" not in path.parts:
            assert not ros.search(path.read_text()), path


def checkout(repository: Path, folder: Path) -> Path:
    """The files of the checkout that are under version control, in a workspace's src folder."""
    target = folder / "src" / "pad_ros"
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout: cannot tell the package's files from others")
    listed = run("git ls-files --cached --others --exclude-standard", repository)
    for name in listed.splitlines():
        if (repository / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, target / name)
    return target


def run(command: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_colcon_builds_the_package(repository, tmp_path):
    """In a workspace of its own; then messages, nodes and commands work from the install folder alone."""
    colcon = Path(sys.executable).with_name("colcon")
    colcon = str(colcon) if colcon.exists() else shutil.which("colcon")
    if colcon is None:
        pytest.skip("colcon is not installed")
    if "ROS_DISTRO" in os.environ:
        options, prefix = "", ""
    else:
        fix = repository / "cmake" / "drop_foreign_includes.cmake"
        options = f"--cmake-args -DCMAKE_PROJECT_INCLUDE={fix} -DPython3_EXECUTABLE={sys.executable}"
        prefix = f"export AMENT_PREFIX_PATH={sys.prefix} CMAKE_PREFIX_PATH={sys.prefix} PATH={sys.prefix}/bin:$PATH; "
    checkout(repository, tmp_path)
    listed = run(f"{prefix}{colcon} list --base-paths src", tmp_path).split("\n")
    assert [line.split("\t")[0] for line in listed if line] == ["pad_ros"]
    run(f"{prefix}{colcon} build --base-paths src {options}", tmp_path)
    # -S keeps the editable install of this checkout out of the way; the wheels stay on PYTHONPATH.
    site = next(path for path in sys.path if path.endswith("site-packages") and path.startswith(sys.prefix))
    program = (
        "import pad_ros; from pad_ros.msg import InspectionResult; from rclpy.serialization import serialize_message;"
        "serialize_message(InspectionResult()); print(pad_ros.__file__); print(pad_ros.__version__);"
        "from pad_ros.methods.presets import preset_folder; print(preset_folder())"
    )
    setup = f"{prefix}. install/setup.bash; export PYTHONPATH=$PYTHONPATH:{site};"
    file, version, presets = run(f'{setup} {sys.executable} -S -c "{program}"', tmp_path).split()
    install = str(tmp_path / "install")
    assert file.startswith(install)
    assert presets.startswith(install)
    assert version == pad_ros.__version__
    executables = tmp_path / "install" / "pad_ros" / "lib" / "pad_ros"
    assert all(os.access(path, os.X_OK) for path in executables.iterdir())
    assert {"cell", "localizer", "train", "inspect"} <= {path.name for path in executables.iterdir()}
    assert "usage: pad train" in run(f"{setup} {sys.executable} -S {executables / 'train'} --help", tmp_path)
    share = tmp_path / "install" / "pad_ros" / "share" / "pad_ros"
    assert (share / "launch" / "conveyor_cell.launch.py").is_file()
    assert (share / "config" / "conveyor_cell.yaml").is_file()


def test_a_line_machine_loads_no_torch(repository):
    """It takes longer to load than a model does; the stages on a CPU need none of it."""
    code = "import sys, pad_ros.inspector, pad_ros.nodes.support.stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0
