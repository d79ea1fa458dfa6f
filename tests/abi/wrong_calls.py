# SPDX-License-Identifier: Apache-2.0
"""Which wrong arguments each exported function is called with, made from its C types."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abi_header import Function, functions, listed_names

HANDLES = ("ncclComm_t", "ncclWindow_t", "ncclParamHandle_t", "cudaStream_t")
STRUCT_WORDS = {"ncclUniqueId": "struct:128", "ncclTeam_t": "struct:12"}
STRUCT_WORDS["ncclMultimemHandle_t"] = "struct:8"
HUGE = 1 << 62


@dataclass(frozen=True)
class Answer:
    """What became of one call: `ended` 0, or -signal; the result code; the text of the error."""

    ended: int
    code: int | None
    text: str


def _word(kind: str, parameter: str) -> str | int:
    plain = parameter.removeprefix("const ")
    if kind == "beside":
        return _word_beside_a_good_communicator(plain)
    if plain in STRUCT_WORDS:
        return STRUCT_WORDS[plain]
    if plain in HANDLES:
        return {"null": "null", "junk": "junk", "address": "address"}[kind]
    if "*" in plain:
        return "null" if kind == "null" else "room"
    if kind == "null":
        return 0
    return HUGE if plain == "size_t" else -7


def _word_beside_a_good_communicator(plain: str) -> str | int:
    if plain in STRUCT_WORDS:
        return STRUCT_WORDS[plain]
    if plain == "ncclComm_t":
        return "comm"
    if plain in HANDLES:
        return "address"
    if "*" in plain:
        return "room"
    return {"size_t": 8, "ncclDataType_t": 7}.get(plain, 0)


def _call(function: Function, kind: str) -> dict[str, Any]:
    words = [_word(kind, parameter) for parameter in function.parameters]
    return {"name": function.name, "result": function.result, "arguments": words}


def ask(library: Path, kind: str) -> dict[str, Answer]:
    """Calls every function of symbols.txt on `library`.

    kind "null": zeros and NULL throughout. "junk": handles point to memory that holds no object,
    outputs to writable memory, numbers are absurd. "address": handles are not even mapped.
    "beside": a good communicator and fair numbers, but every other handle is not mapped.
    """
    calls = [_call(functions()[name], kind) for name in listed_names()]
    probe = Path(__file__).with_name("call_probe.py")
    done = subprocess.run(
        [sys.executable, str(probe), str(library)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    answers = json.loads(done.stdout[done.stdout.index("[{") :])
    return dict(zip(listed_names(), (Answer(**answer) for answer in answers), strict=True))
