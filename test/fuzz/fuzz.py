"""Looks for inputs that break a parser.

    python test/fuzz/fuzz.py [NAME...] [--seconds 60] [--corpus .fuzz]

With atheris (pip install atheris) coverage guides the search, and what reaches new code is kept in CORPUS/NAME;
without it hypothesis damages whole inputs at random. An input that breaks a parser, takes more than TIMEOUT seconds or
more than MEMORY_MB is written to CORPUS/NAME-crashes; exit status 1 then. Copy it to test/fuzz/found/NAME when the bug
is mended: test_fuzz.py reads it from then on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

TIMEOUT, MEMORY_MB = 20, 2048
LONGEST = {"bag_mcap": 60_000, "bag_db3": 60_000}  # bytes of an input; else:
LONG = 20_000
# What atheris instruments: parsers, not the modules whose functions numba compiles.
INSTRUMENTED = ["pad_ros.io", "pad_ros.imaging", "pad_ros.model", "pad_ros.methods", "pad_ros.rendering.gaussians",
                "pad_ros.evaluation.recordings", "pad_ros.networks.probe", "rosbags", "yaml", "json"]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return fuzz(arguments.names[0], arguments.seconds, arguments.corpus)
    from parsers import PARSERS

    if unknown := set(arguments.names) - set(PARSERS):
        parser.error(f"no {min(unknown)!r}; there are: {', '.join(PARSERS)}")
    broken = []
    for name in arguments.names or PARSERS:
        print(f"{name}: {arguments.seconds} s", flush=True)
        options = ["--one", "--seconds", str(arguments.seconds), "--corpus", str(arguments.corpus)]
        broken += [name] * bool(subprocess.call([sys.executable, __file__, name, *options]))
    print(f"broken: {', '.join(broken)}; see {arguments.corpus}" if broken else "nothing broke")
    return int(bool(broken))


def fuzz(name: str, seconds: int, corpus: Path) -> int:
    crashes = corpus / f"{name}-crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    (corpus / name).mkdir(exist_ok=True)
    if find_spec("atheris") is None:
        return by_hypothesis(name, seconds, crashes)
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import parsers
    for i, data in enumerate([*parsers.seeds(name), *parsers.found(name)]):
        (corpus / name / f"seed_{i}").write_bytes(data)
    options = {"max_total_time": seconds, "timeout": TIMEOUT, "rss_limit_mb": MEMORY_MB, "print_final_stats": 1,
               "max_len": LONGEST.get(name, LONG), "artifact_prefix": f"{crashes}/", "verbosity": 0}  # fmt: skip
    words = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], *words, str(corpus / name)], lambda data: parsers.run(name, data) and None)
    atheris.Fuzz()  # ends the process
    return 0


def by_hypothesis(name: str, seconds: int, crashes: Path) -> int:
    """Without coverage and without limits of time and memory."""
    import parsers
    from hypothesis import HealthCheck, given, settings
    from test_fuzz import damaged

    end, tried = time.monotonic() + seconds, 0

    @settings(max_examples=10**9, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(name))
    def check(data: bytes) -> None:
        nonlocal tried
        if time.monotonic() > end:
            raise KeyboardInterrupt
        tried += 1
        try:
            parsers.run(name, data)
        except Exception:
            (crashes / f"crash_{tried}").write_bytes(data)
            raise

    try:
        check()
    except KeyboardInterrupt:
        print(f"{tried} inputs")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
