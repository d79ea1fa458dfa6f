# SPDX-License-Identifier: Apache-2.0
"""Fabric files: what paths a machine has between its ranks, as TOML, each figure with its source.

Reads, checks and overrides; what follows from the figures is computed in plan_model.py.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlink.errors import FlexlinkError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parent / "fabrics"
SCHEDULES = ("ring", "direct")
MOST = 16  # paths, and caps: the library's bound

UNSOURCED = "no source given"
OVERRIDDEN = "given on the command line"


class FabricError(FlexlinkError):
    """A fabric file, or an override of it, is wrong: file, key, what is there, what is expected."""


@dataclass(frozen=True)
class Figure:
    """One number of the machine and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Path_:  # noqa: N801 - Path is pathlib's
    """One way between ranks. rate: bytes/s in one direction; latency: s per stage and step."""

    name: str
    rate: Figure
    latency: Figure
    chunk: Figure
    stages: int
    schedule: str


@dataclass(frozen=True)
class Cap:
    """What paths share. rate: bytes/s for all of the ranks in shared_by together (0: all ranks)."""

    name: str
    rate: Figure
    paths: tuple[str, ...]
    crossings: float
    shared_by: int

    def rate_of_one(self, ranks: int) -> float:
        """Bytes/s that one of `ranks` ranks has when all use it."""
        sharing = ranks if self.shared_by == 0 else min(ranks, self.shared_by)
        return self.rate.value / sharing


@dataclass(frozen=True)
class Fabric:
    """A machine; the first path is the primary."""

    name: str
    title: str
    paths: tuple[Path_, ...]
    caps: tuple[Cap, ...]

    def figures(self) -> list[tuple[str, Figure]]:
        """(key as --set takes it, figure), in the order of the file."""
        found = []
        for path in self.paths:
            found += [(f"{path.name}.rate", path.rate), (f"{path.name}.latency", path.latency)]
            if path.stages > 1:
                found.append((f"{path.name}.chunk", path.chunk))
        return found + [(f"{cap.name}.rate", cap.rate) for cap in self.caps]


def bundled() -> list[str]:
    """Names of the fabrics that the package brings."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Fabric:
    """The fabric of a bundled name, or of a TOML file.

    Raises:
        FabricError: there is none, or it is wrong; the text names file and key.
    """
    path = FOLDER / f"{name}.toml" if name in bundled() else Path(name)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(bundled())
        reason = getattr(error, "strerror", None) or str(error)
        raise FabricError(
            f"fabric '{name}': it is none of {known}, and as a file: {reason}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise FabricError(f"{path}: not TOML: {error}") from None
    return _Reader(str(path)).fabric(path.stem, data)


class _Reader:
    """Checks one file; `file` begins every message."""

    def __init__(self, file: str) -> None:
        self.file = file

    def error(self, where: str, found: object, expected: str) -> FabricError:
        return FabricError(f"{self.file}: {where} is {found!r}; expected {expected}")

    def fabric(self, name: str, data: Mapping[str, Any]) -> Fabric:
        self.only_keys("the file", data, ("title", "path", "cap"))
        paths = tuple(self.path(i, item) for i, item in self.tables(data, "path"))
        caps = tuple(self.cap(i, item, paths) for i, item in self.tables(data, "cap"))
        if not paths:
            raise FabricError(f"{self.file}: there is no [[path]]; the first one is the primary")
        names = [path.name for path in paths] + [cap.name for cap in caps]
        for each in names:
            if names.count(each) > 1:
                raise FabricError(
                    f"{self.file}: the name '{each}' is used twice; each path and cap needs its own"
                )
        title = data.get("title", name)
        if not isinstance(title, str):
            raise self.error("title", title, "a text")
        return Fabric(name, title, paths, caps)

    def tables(self, data: Mapping[str, Any], key: str) -> list[tuple[int, Mapping[str, Any]]]:
        found = data.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.error(key, found, f"tables that begin with [[{key}]]")
        if len(found) > MOST:
            raise FabricError(f"{self.file}: {len(found)} tables [[{key}]]; at most {MOST}")
        return list(enumerate(found, 1))

    def path(self, number: int, data: Mapping[str, Any]) -> Path_:
        name = self.name(f"[[path]] {number}", data)
        where = f"path '{name}'"
        self.only_keys(where, data, [field.name for field in dataclasses.fields(Path_)])
        stages = data.get("stages", 1)
        if type(stages) is not int or not 1 <= stages <= 16:
            raise self.error(f"{where}: stages", stages, "a whole number from 1 to 16")
        schedule = data.get("schedule", "direct")
        if schedule not in SCHEDULES:
            raise self.error(f"{where}: schedule", schedule, "'ring' or 'direct'")
        return Path_(
            name,
            self.figure(f"{where}: rate", data.get("rate"), "bytes/s in one direction"),
            self.figure(f"{where}: latency", data.get("latency"), "seconds", zero=True),
            self.figure(f"{where}: chunk", data.get("chunk", 0), "bytes", zero=True),
            stages,
            schedule,
        )

    def cap(self, number: int, data: Mapping[str, Any], paths: Sequence[Path_]) -> Cap:
        name = self.name(f"[[cap]] {number}", data)
        where = f"cap '{name}'"
        self.only_keys(where, data, [field.name for field in dataclasses.fields(Cap)])
        members = data.get("paths")
        known = [path.name for path in paths]
        if not isinstance(members, list) or not members or any(m not in known for m in members):
            raise self.error(f"{where}: paths", members, f"a list of some of {', '.join(known)}")
        crossings = data.get("crossings", 1)
        if not _is_number(crossings) or crossings <= 0:
            raise self.error(f"{where}: crossings", crossings, "a number above 0")
        shared_by = data.get("shared_by", 1)
        if shared_by != "all" and (type(shared_by) is not int or shared_by < 1):
            raise self.error(f"{where}: shared_by", shared_by, "a number of ranks, or 'all'")
        rate = self.figure(f"{where}: rate", data.get("rate"), "bytes/s")
        return Cap(
            name, rate, tuple(members), crossings, 0 if shared_by == "all" else int(shared_by)
        )

    def name(self, where: str, data: Mapping[str, Any]) -> str:
        name = data.get("name")
        if not isinstance(name, str) or not name or "." in name or "=" in name:
            raise self.error(f"{where}: name", name, "a text without '.' and '='")
        return name

    def only_keys(self, where: str, data: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in data:
            if key not in known:
                raise FabricError(
                    f"{self.file}: {where} has the key '{key}'; expected {', '.join(known)}"
                )

    def figure(self, where: str, found: object, unit: str, zero: bool = False) -> Figure:
        value: Any = found
        source: Any = UNSOURCED
        if isinstance(found, dict) and set(found) <= {"value", "source"}:
            value, source = found.get("value"), found.get("source", UNSOURCED)
        good = _is_number(value) and (value > 0 or (zero and value == 0))
        if not good or not isinstance(source, str):
            bound = "that is not negative" if zero else "above 0"
            raise self.error(
                where, found, f'a number of {unit} {bound}, or {{ value = ..., source = "..." }}'
            )
        return Figure(float(value), source)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def override(fabric: Fabric, text: str) -> Fabric:
    """`fabric` with one figure replaced. text: name.key=value, e.g. pcie.rate=26e9.

    Raises:
        FabricError: there is no such figure, or the value is no number; the text lists the keys.
    """
    key, _, number = text.partition("=")
    keys = [known for known, _ in fabric.figures()]
    if key not in keys:
        raise FabricError(
            f"--set {text}: fabric '{fabric.name}' has no figure '{key}'; "
            f"expected one of {', '.join(keys)}"
        )
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    zero = not key.endswith(".rate")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "that is not negative" if zero else "above 0"
        raise FabricError(f"--set {text}: '{number}' is no number {bound}")
    name, _, field = key.partition(".")
    change = {field: Figure(value, OVERRIDDEN)}
    paths = (_replaced(path, name, change) for path in fabric.paths)
    caps = (_replaced(cap, name, change) for cap in fabric.caps)
    return dataclasses.replace(fabric, paths=tuple(paths), caps=tuple(caps))


def _replaced(item: Any, name: str, change: Mapping[str, Figure]) -> Any:
    return dataclasses.replace(item, **change) if item.name == name else item
