# SPDX-License-Identifier: Apache-2.0
"""Numbers and rows as text for people: amounts, durations, ranges, columns."""

from __future__ import annotations

from collections.abc import Sequence


def amount(number: float) -> str:
    """Bytes with a unit of three digits: 999 B, 1.50 KiB, 12.3 GiB."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        number /= 1024
        if number < 999.5:
            return f"{number:.3g} {unit}"
    return f"{number / 1024:.3g} PiB"


def duration(nanos: int | None) -> str:
    """A time with a unit: 850 ns, 12.3 us, 4.56 ms, 7.89 s, 2h05m; ? where it is not known."""
    if nanos is None:
        return "?"
    if nanos >= 120 * 10**9:
        minutes = nanos // (60 * 10**9)
        return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanos >= size:
            return f"{nanos / size:.3g} {unit}"
    return f"{nanos} ns"


def ranges(numbers: Sequence[int]) -> str:
    """0-3, 7 for [0, 1, 2, 3, 7]."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with two blanks before each cell; columns without heading and content are left out."""
    table = [headings, *rows]
    used = [i for i in range(len(headings)) if headings[i] or any(line[i] for line in table)]
    widths = {i: max(len(line[i]) for line in table) for i in used}
    return ["  " + "  ".join(line[i].ljust(widths[i]) for i in used).rstrip() for line in table]
