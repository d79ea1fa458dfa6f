# SPDX-License-Identifier: Apache-2.0
"""The command `flexlink`: finds the subcommand and hands it the rest of the line.

Each subcommand is a module with main(argv) -> exit status, imported only when it is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from flexlink.errors import FlexlinkError

# name: (module with main(argv), one line for the help)
COMMANDS = {
    "run": ("flexlink.launch", "start N ranks of a program on this host"),
    "perf": ("flexlink.perf", "measure a collective; nccl-tests' options and output"),
    "links": ("flexlink.links", "show communicators, lanes and bytes of running jobs"),
    "plan": ("flexlink.plan", "model the split and busbw of a machine, also before it is bought"),
    "doctor": ("flexlink.doctor.command", "say what this machine lacks, and what mends it"),
}

USAGE = """\
usage: flexlink COMMAND [options]

commands:
{commands}
  lib       print the path of the library: LD_PRELOAD="$(flexlink lib)" program
  settings  print every setting with its value and where it came from

flexlink COMMAND --help says more. flexlink --version prints the versions.
"""


def usage() -> str:
    """The help text of `flexlink` itself."""
    lines = (f"  {name:<9} {prose}" for name, (_, prose) in COMMANDS.items())
    return USAGE.format(commands="\n".join(lines))


LIB_USAGE = """\
usage: flexlink lib [--vendor]

Prints the path of libflexlink.so (SONAME libnccl.so.2):
  LD_PRELOAD="$(flexlink lib)" program

--vendor  print the path of NVIDIA's libnccl.so.2 that calls would pass through to from here
"""


def print_library_path(argv: Sequence[str]) -> int:
    """`flexlink lib`: the absolute path of a library on a line of its own."""
    from flexlink._native import library_path

    if list(argv) == ["--vendor"]:
        return print_vendor_path()
    if argv:
        print(LIB_USAGE, end="")
        return 0 if argv[0] in ("-h", "--help") else 2
    print(library_path())
    return 0


def print_vendor_path() -> int:
    """`flexlink lib --vendor`: the vendor's library, or where it was looked for."""
    from flexlink._native import vendor_text

    rows = [line.split("\t", 2) for line in vendor_text().splitlines()]
    found = [path for path, _, what in rows if what.startswith("NCCL ")]
    if found:
        print(found[0])
        return 0
    print("no libnccl.so.2 of NVIDIA's is found; looked at", file=sys.stderr)
    for path, source, what in rows:
        print(f"  {path} ({source}): {what}", file=sys.stderr)
    return 1


def print_settings(argv: Sequence[str]) -> int:
    """`flexlink settings`: one line for each setting, its value, its origin and what it does."""
    from flexlink._native import cuda_kernels, settings_text

    if argv:
        print("usage: flexlink settings\n\nPrints each setting with its value and origin.")
        return 0 if argv[0] in ("-h", "--help") else 2
    rows = [line.split("\t", 4) for line in settings_text().splitlines()]
    for row in rows:
        name, value, origin, unit, prose = (row + [""] * 5)[:5]
        print(
            f"{name} = {value or '(empty)'}{' ' + unit if unit else ''}   [{origin}]\n    {prose}"
        )
    print(f"CUDA kernels in this library: {cuda_kernels()}")
    return 0


def print_versions() -> int:
    """`flexlink --version`."""
    from flexlink._native import versions

    own, nccl = versions()
    print(f"flexlink {own} (stands for NCCL {nccl})")
    return 0


def dispatch(argv: Sequence[str]) -> int:
    """Runs the command that `argv` names; returns its exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    if name in ("-V", "--version"):
        return print_versions()
    if name == "lib":
        return print_library_path(rest)
    if name == "settings":
        return print_settings(rest)
    if name not in COMMANDS:
        print(f"flexlink: there is no command '{name}'\n\n{usage()}", end="", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name][0]).main(list(rest)))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the console script. argv: the words after `flexlink`; None: sys.argv's."""
    try:
        return dispatch(sys.argv[1:] if argv is None else argv)
    except FlexlinkError as error:
        print(f"flexlink: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 141  # as a shell reports SIGPIPE: the reader of our output went away
    except KeyboardInterrupt:
        return 130
