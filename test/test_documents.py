"""The documents: generated ones are up to date, links lead somewhere, and the commands that they name exist."""

import ast
import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_modules import benchmark
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "benchmarks" / "RESULTS.md"])


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(REPOSITORY)) for page in pages]


def commands(page: Path) -> list[str]:
    """The lines of its blocks without a language, continued ones joined, comments and optional parts left out."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(text for language, text in blocks if not language).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s#.*|\[[^]]*\](\.\.\.)?|\.\.\.(?=\s|$)", "", line).strip() for line in lines]


def setup_keyword(name: str):
    """What setup.py gives to a keyword of setup(), a literal."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text())
    return ast.literal_eval(next(n.value for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == name))


def licences():
    """docs/write_licences.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "write_licences", Path(__file__).parents[1] / "docs/write_licences.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_page_is_made_from_the_recorded_results(repository):
    report = benchmark("report_results")
    written = (repository / "benchmarks" / "RESULTS.md").read_text()
    assert written == report.document(report.read_results()), "run `python benchmarks/report_results.py`"


def test_licence_table_names_every_direct_dependency(repository):
    table = (repository / "docs" / "licences.md").read_text()
    direct = [*setup_keyword("install_requires"), *sum(setup_keyword("extras_require").values(), [])]
    for name in (Requirement(line).name for line in direct):
        assert f"| {name} | " in table, f"{name}: run `python docs/write_licences.py`"


@pytest.mark.skipif(
    sys.version_info < (3, 11) or "ROS_DISTRO" in os.environ or np.__version__ < "2",
    reason="the table is written for the packages of constraints.txt with Python 3.11 and later",
)
def test_licence_table_is_up_to_date(repository):
    assert licences().differences((repository / "docs" / "licences.md").read_text()) == []


def test_links_between_documents_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_of_pad_are_understood(page):
    """Everything that a page lets you type: sub-commands, options and their values."""
    from pad_ros.cli import _parser
    from pad_ros.scale_out.options import asks_for_each

    for line in commands(page):
        words = shlex.split(line)
        if words and words[0] in ("pad", ".venv/bin/pad"):
            try:
                _parser(asks_for_each(words)).parse_args(words[1:])
            except SystemExit as end:
                assert not end.code, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_nodes_launch_files_and_scripts_that_a_page_names_exist(page, repository):
    for line in commands(page):
        for module in re.findall(r"python -m pad_ros\.([\w.]+)", line):
            assert (repository / "pad_ros" / (module.replace(".", "/") + ".py")).is_file(), line
        for script in re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", line):
            assert (repository / script).is_file(), line
        for file, given in re.findall(r"ros2 launch pad_ros (\S+)(.*)", line):
            sources = [repository / "launch" / file, repository / "pad_ros" / "nodes" / "support" / "launching.py"]
            known = set(re.findall(r'"(\w+)"', "".join(path.read_text() for path in sources if path.is_file())))
            assert set(re.findall(r"(\w+):=", given)) <= known, line
        for parameters in re.findall(r"--params-file (\S+)", line):
            assert (repository / parameters).is_file(), line
        for target in re.findall(r"^make (?:-C \S+ )?([\w-]+)", line):
            assert re.search(rf"^{target}:", (repository / "Makefile").read_text(), re.MULTILINE), line


def test_limits_that_the_accuracy_page_names_are_those_of_the_code(repository):
    from pad_ros.training.fitting import HOLD_OUT_EVERY
    from pad_ros.training.train import MIN_PSNR

    page = (repository / "docs" / "accuracy.md").read_text()
    assert f"| below {MIN_PSNR:g} | no threshold" in page
    assert HOLD_OUT_EVERY == 8 and "every eighth photograph" in page
