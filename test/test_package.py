"""The package itself: its metadata agree, and colcon builds and tests it as any ROS package."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from packaging.requirements import Requirement

import pad_ros

PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# install_requires -> rosdep key (rosdistro, rosdep/python.yaml).
ROSDEP = {
    "jinja2": "python3-jinja2",
    "mapbox-earcut": "python3-mapbox-earcut-pip",
    "matplotlib": "python3-matplotlib",
    "numba": "python3-numba",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "opencv-python-headless": "python3-opencv",
    "pyyaml": "python3-yaml",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "simplejpeg": "python3-simplejpeg-pip",
    "torch": "python3-torch",
    "tqdm": "python3-tqdm",
}
NO_ROSDEP_KEY = {"fsspec", "lz4", "onnx", "pycolmap", "safetensors", "threadpoolctl"}

ROS_PACKAGES = re.compile(r"rclpy|launch|launch_ros|cv_bridge|ament_index_python|\w+_msgs|\w+_msgs_py|\w+_interfaces")


def setup_keyword(repository: Path, name: str):
    """What setup.py gives to a keyword of setup(), a literal."""
    tree = ast.parse((repository / "setup.py").read_text())
    (value,) = (node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == name)
    return ast.literal_eval(value)


def requirements(path: Path) -> list[Requirement]:
    """Those of a file, and of the files that it names by -c."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    named = [path.parent / line.removeprefix("-c ") for line in lines if line.startswith("-c ")]
    own = [Requirement(line) for line in lines if line and not line.startswith("-c ")]
    return sum((requirements(other) for other in named), own)


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
    names = {
        "argon2": "argon2-cffi",
        "cv2": "opencv-python-headless",
        "mapbox_earcut": "mapbox-earcut",
        "paho": "paho-mqtt",
        "ray": "ray[client]",
        "yaml": "pyyaml",
    }
    setup = (repository / "setup.py").read_text()
    comes_with_another = {"llvmlite", "lz4", "markupsafe"}  # numba, rosbags, jinja2
    for path in (repository / "pad_ros").rglob("*.py"):
        for module in imported(path):
            if module in sys.stdlib_module_names or module in comes_with_another or module == "pad_ros":
                continue
            if not ROS_PACKAGES.fullmatch(module):  # those are in package.xml
                assert f'"{names.get(module, module)}>=' in setup, f"{path}: {module}"


def test_package_xml_names_what_setup_py_requires(repository):
    package = ElementTree.parse(repository / "package.xml").getroot()
    keys = {entry.text for entry in package.iter() if entry.tag.endswith("depend")}
    required = {Requirement(line).name for line in setup_keyword(repository, "install_requires")}
    assert required == set(ROSDEP) | NO_ROSDEP_KEY
    assert set(ROSDEP.values()) <= keys


def test_package_xml_names_the_ros_packages_that_are_imported(repository):
    package = ElementTree.parse(repository / "package.xml").getroot()
    keys = {entry.text for entry in package.iter() if entry.tag.endswith("depend")}
    for path in [*(repository / "pad_ros").rglob("*.py"), *(repository / "launch").glob("*.py")]:
        assert {module for module in imported(path) if ROS_PACKAGES.fullmatch(module)} <= keys, path
    for path in (repository / "launch").glob("*.py"):
        started = set(re.findall(r'package="(\w+)"', path.read_text()))
        assert started <= keys | {"pad_ros"}, path


def test_what_setup_py_installs_exists(repository):
    patterns = re.findall(r'glob\("([^"]+)"\)', (repository / "setup.py").read_text())
    assert patterns
    for pattern in patterns:
        assert list(repository.glob(pattern)), pattern


@pytest.mark.parametrize(
    "name, version", [*(("constraints.txt", version) for version in PYTHONS), ("constraints-jazzy.txt", "3.12")]
)
def test_every_dependency_has_one_pin_within_its_range(repository, name, version):
    """For each Python that setup.py and the CI name, and for ROS 2 Jazzy's."""
    environment = {"python_version": version, "python_full_version": f"{version}.9"}
    pins: dict[str, list[str]] = {}
    for pin in requirements(repository / name):
        if pin.marker is None or pin.marker.evaluate(environment):
            pins.setdefault(pin.name, []).append(str(pin.specifier).removeprefix("=="))
    declared = [Requirement(line) for line in setup_keyword(repository, "install_requires")]
    for requirement in [*declared, *requirements(repository / "requirements-dev.txt")]:
        (pinned,) = pins[requirement.name]
        assert requirement.specifier.contains(pinned), requirement
    for requirement in requirements(repository / "requirements-ros-wheels.txt"):
        assert len(pins[requirement.name]) == 1, requirement


def test_a_ros_machine_gets_the_numpy_and_opencv_of_cv_bridge(repository):
    pins = {pin.name: pin.specifier for pin in requirements(repository / "constraints-jazzy.txt")}
    assert pins["numpy"].contains("1.26.4")
    assert all(pin.version.startswith("4.") for pin in pins["opencv-python-headless"])
    makefile = (repository / "Makefile").read_text()
    wheels, _, ros = makefile.partition("ifdef ROS_DISTRO")[2].partition("else")
    assert "constraints-jazzy.txt" in wheels and "CONSTRAINTS ?= constraints.txt" in ros


def test_ci_covers_every_python_and_runs_what_there_is(repository):
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())
    assert tuple(workflow["jobs"]["wheels"]["strategy"]["matrix"]["python"]) == PYTHONS
    assert setup_keyword(repository, "python_requires") == f">={PYTHONS[0]}"
    targets = re.findall(r"^([\w-]+):", (repository / "Makefile").read_text(), re.MULTILINE)
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert {name for run in steps for name in re.findall(r"\bmake (?:-C \S+ )?([\w-]+)", run)} <= set(targets)
    assert workflow["jobs"]["ros"]["container"] == "ros:jazzy"


def test_pre_commit_runs_the_linters_of_make_lint(repository):
    configured = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: hook["entry"] for repo in configured["repos"] for hook in repo["hooks"]}
    lint = (repository / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "bandit"}
    for entry in hooks.values():
        tool = " ".join(entry.split()[:2]) if "ruff" in entry else entry
        assert tool.removeprefix(".venv/bin/") in lint


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
        options, prefix = "--cmake-args", ""
    else:
        fix = repository / "cmake" / "drop_foreign_includes.cmake"
        options = f"--cmake-args -DCMAKE_PROJECT_INCLUDE={fix} -DPython3_EXECUTABLE={sys.executable}"
        prefix = f"export AMENT_PREFIX_PATH={sys.prefix} CMAKE_PREFIX_PATH={sys.prefix} PATH={sys.prefix}/bin:$PATH; "
    checkout(repository, tmp_path)
    listed = run(f"{prefix}{colcon} list --base-paths src", tmp_path).split("\n")
    assert [line.split("\t")[0] for line in listed if line] == ["pad_ros"]
    run(f"{prefix}{colcon} build --base-paths src {options} -DPAD_ROS_TESTS=test/imaging/test_rect.py", tmp_path)
    # -S keeps the editable install of this checkout out of the way; the wheels stay on PYTHONPATH.
    site = next(path for path in sys.path if path.endswith("site-packages") and path.startswith(sys.prefix))
    program = (
        "import pad_ros; from pad_ros.msg import InspectionResult; from rclpy.serialization import serialize_message;"
        "serialize_message(InspectionResult()); print(pad_ros.__file__); print(pad_ros.__version__);"
        "from pad_ros.methods.presets import preset_folder; print(preset_folder())"
    )
    setup = f"{prefix}. install/setup.bash; export PYTHONPATH=$PYTHONPATH:{site};"
    file, version, presets = run(f'{setup} {sys.executable} -S -c "{program}"', tmp_path).split()
    install, install_path = str(tmp_path / "install"), str(Path(file).parents[1])
    assert file.startswith(install)
    assert presets.startswith(install)
    assert version == pad_ros.__version__
    executables = tmp_path / "install" / "pad_ros" / "lib" / "pad_ros"
    assert all(os.access(path, os.X_OK) for path in executables.iterdir())
    assert {"cell", "localizer", "train", "inspect"} <= {path.name for path in executables.iterdir()}
    # They run by the interpreter of the build, whatever `python3` is, and say in one line what that one lacks.
    assert {path.read_text().splitlines()[0] for path in executables.iterdir()} == {f"#!{sys.executable}"}
    assert "usage: pad train" in run(f"{setup} PATH=/usr/bin:/bin {executables / 'train'} --help", tmp_path)
    bare = subprocess.run(
        [sys.executable, "-S", executables / "cell"], capture_output=True, text=True, env={"PYTHONPATH": install_path}
    )
    assert bare.returncode == 3 and len(bare.stderr.splitlines()) == 1
    assert f"{sys.executable}: No module named" in bare.stderr
    share = tmp_path / "install" / "pad_ros" / "share" / "pad_ros"
    assert (share / "launch" / "conveyor_cell.launch.py").is_file()
    assert (share / "config" / "conveyor_cell.yaml").is_file()
    tested = (
        f"export PYTHONPATH=$PYTHONPATH:{site}; {prefix}{colcon} test --base-paths src --return-code-on-test-failure"
    )
    run(tested, tmp_path)
    (summary,) = run(f"{prefix}{colcon} test-result --all", tmp_path).splitlines()[-1:]
    assert re.match(r"Summary: [1-9]\d* tests, 0 errors, 0 failures, 0 skipped", summary), summary


def test_a_line_machine_loads_no_torch(repository):
    """It takes longer to load than a model does; the stages on a CPU need none of it."""
    code = "import sys, pad_ros.inspector, pad_ros.nodes.support.stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0
