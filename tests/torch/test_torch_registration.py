# SPDX-License-Identifier: Apache-2.0
"""How the string "flexlink" comes to work, what that costs who does not use it, and two traps of
torch 2.13 that a plugin must walk around."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_ranks import run_command
from torch_support import HEAVY_MODULES, NATIVE_WORDS, PLUGIN_MODULE, PLUGIN_NAME, only_flexlink

OPEN = """
import torch.distributed as dist
def init(name, **options):
    dist.init_process_group(name, rank=0, world_size=1, store=dist.HashStore(), **options)
def works():
    import torch
    x = torch.ones(5)
    dist.all_reduce(x)
    dist.barrier()
    return x.tolist() == [1.0] * 5
"""
LOADED = """
import json, sys, torch
maps = open("/proc/self/maps").read().split()
print(json.dumps({"modules": sorted(sys.modules),
                  "files": sorted({word for word in maps if word[0] == "/"})}))
"""
# A plugin of Gloo's, so that what is pinned is torch's behaviour and not ours.
STAND_IN = """
import warnings, torch, torch.distributed as dist
seen = []
def make(options, pg_options):
    seen.append(pg_options)
    return dist.ProcessGroupGloo(options.store, options.group_rank, options.group_size,
                                 timeout=options.timeout)
"""


def python(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, as a user starts one."""
    return run_command([sys.executable, "-c", program], 60, env)


def answer(program: str, **env: str) -> Any:
    """The last line that the program prints, from JSON."""
    done = python(program, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@only_flexlink
def test_import_torch_loads_nothing_heavy_of_ours() -> None:
    with_it, without = answer(LOADED), answer(LOADED, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    more = set(with_it["modules"]) - set(without["modules"])
    assert PLUGIN_MODULE in more
    assert not [name for name in more if name.startswith(HEAVY_MODULES)], more
    assert {name.split(".")[0] for name in more} <= {
        "flexlink",
        "torch",
        *sys.stdlib_module_names,
    }, more
    mapped = [Path(file).name for file in set(with_it["files"]) - set(without["files"])]
    assert not [name for name in mapped if any(word in name for word in NATIVE_WORDS)], mapped


@only_flexlink
def test_import_torch_does_not_fail_where_our_library_cannot_be_loaded() -> None:
    program = "import sys\nsys.modules['flexlink._cffi'] = None\nimport torch\nprint(1)"
    assert answer(program) == 1


@only_flexlink
def test_the_string_alone_is_enough() -> None:
    program = (
        f"{OPEN}\ninit('flexlink')\nimport json\nprint(json.dumps([works(), dist.get_backend()]))"
    )
    assert answer(program) == [True, "flexlink"]


@only_flexlink
def test_an_explicit_import_does_what_autoload_would() -> None:
    off = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    use = "init('flexlink')\nprint('true' if works() else 'false')"
    assert answer(f"import {PLUGIN_MODULE}\n{OPEN}\n{use}", **off) is True
    assert answer(f"{OPEN}\nimport {PLUGIN_MODULE}\n{use}", **off) is True
    without = python(f"{OPEN}\n{use}", **off)
    assert without.returncode != 0 and "flexlink" in without.stderr


@only_flexlink
def test_registering_changes_no_default_and_may_be_repeated() -> None:
    program = f"""
import json, torch.distributed as dist, {PLUGIN_MODULE} as plugin
plugin.register()
plugin.register()
B = dist.Backend
print(json.dumps([B.{PLUGIN_NAME}, B.default_device_backend_map, B.backend_capability["flexlink"],
                  B.backend_list.count("flexlink")]))
"""
    name, defaults, capability, count = answer(program)
    assert (name, sorted(capability), count) == ("flexlink", ["cpu", "cuda"], 1)
    assert (defaults["cpu"], defaults["cuda"]) == ("gloo", "nccl")
    assert not {"c", "p", "u", "flexlink"} & set(defaults)


@only_flexlink
def test_one_instance_serves_both_devices() -> None:
    program = f"""{OPEN}
import json
init('flexlink')
group = dist.group.WORLD
print(json.dumps(sorted(device.type for device in group._device_types)))
"""
    assert answer(program) == ["cpu", "cuda"]


@only_flexlink
def test_the_plugin_is_compiled_once_for_its_sources(tmp_path: Path) -> None:
    program = f"""
import json, threading, time
from pathlib import Path
from flexlink.torch import build
runs = []
def run(command):
    runs.append(command)
    time.sleep(0.05)
    Path(command[-1]).write_text("made")
build._run = run
sources, cache, seen = Path("{tmp_path}/sources"), Path("{tmp_path}/cache"), []
sources.mkdir()
(sources / "one.cc").write_text("1")
threads = [threading.Thread(target=build.compiled, args=(sources, cache)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
seen.append(len(runs))
assert build.compiled(sources, cache).read_text() == "made"
seen.append(len(runs))
(sources / "one.h").write_text("2")
build.compiled(sources, cache)
print(json.dumps([*seen, len(runs)]))
"""
    assert answer(program) == [2, 2, 4]  # to compile and to link


@only_flexlink
def test_what_is_missing_to_compile_is_named(tmp_path: Path) -> None:
    program = f"""
import json
from pathlib import Path
from flexlink.errors import FlexlinkError
from flexlink.torch import build
def said():
    try:
        build.compile_plugin(Path("{tmp_path}"), Path("{tmp_path}/plugin.so"))
    except FlexlinkError as error:
        return str(error)
without = said()
build._torch_version = lambda: "2.8.1+cpu"
print(json.dumps([without, said()]))
"""
    without, too_old = answer(program, CXX="no-such-compiler")
    assert "no C++ compiler 'no-such-compiler'" in without and "Install one" in without
    assert "needs torch 2.9 or newer" in too_old and "2.8.1+cpu" in too_old


def test_pinned_a_single_device_as_a_string_is_taken_letter_by_letter() -> None:
    """Trap 1."""
    program = f"""{STAND_IN}
dist.Backend.register_backend("stand_in", make, extended_api=True, devices="cpu")
import json
print(json.dumps(sorted(k for k, v in dist.Backend.default_device_backend_map.items()
                        if v == "stand_in")))
"""
    assert answer(program) == ["c", "p", "u"]


@only_flexlink
@pytest.mark.parametrize(
    ("given", "named"),
    [("dist.ProcessGroupGloo._Options()", "gloo"), ("Options('stand_in')", "stand_in"),
     ("{'a': 1}", "dict")],
)  # fmt: skip
def test_options_of_another_backend_are_refused(given: str, named: str) -> None:
    program = f"""{OPEN}
import json
from torch._C._distributed_c10d import Backend
Options, said = Backend.Options, []
for make in (lambda: init("flexlink", pg_options={given}),
             lambda: dist.new_group(pg_options={given})):
    try:
        make()
    except TypeError as error:
        said.append(str(error))
    if not dist.is_initialized():
        init("flexlink")
print(json.dumps(said))
"""
    first, second = answer(program)
    assert named in first and "timeout=" in first
    assert first == second


@only_flexlink
def test_a_limit_in_torchs_own_options_counts() -> None:
    program = f"""{OPEN}
import json
from datetime import timedelta
from torch._C._distributed_c10d import Backend
from {PLUGIN_MODULE} import _time_limit
plain, limited = Backend.Options("flexlink"), Backend.Options("flexlink", timedelta(seconds=7))
init("flexlink", pg_options=limited, timeout=timedelta(seconds=5))
limits = [_time_limit(timedelta(seconds=5), given) for given in (None, plain, limited)]
print(json.dumps([works(), *(limit.total_seconds() for limit in limits)]))
"""
    assert answer(program) == [True, 5.0, 5.0, 7.0]


def test_pinned_options_of_the_world_do_not_reach_other_groups() -> None:
    """Trap 2."""
    program = f"""{STAND_IN}{OPEN}
dist.Backend.register_backend("stand_in", make, extended_api=True, devices=["cpu", "cuda"])
init("stand_in", pg_options={{"a": 1}})
dist.new_group([0])
import json
print(json.dumps(seen))
"""
    assert answer(program) == [{"a": 1}, None]


def test_pinned_no_group_is_bound_to_the_cpu() -> None:
    """Trap 7: so there is no split_group() there."""
    program = f"{OPEN}\nimport torch\ninit('gloo', device_id=torch.device('cpu:0'))"
    done = python(program)
    assert done.returncode != 0 and "must be an accelerator with an index" in done.stderr


@pytest.mark.parametrize(
    ("string", "warned"), [("stand_in", False), ("cpu:stand_in,cuda:stand_in", True)]
)
def test_pinned_strings_with_a_device_leave_no_default_backend(string: str, warned: bool) -> None:
    """Trap 3."""
    program = f"""{STAND_IN}{OPEN}
dist.Backend.register_backend("stand_in", make, extended_api=True, devices=["cpu", "cuda"])
init("{string}")
assert works()
dist.destroy_process_group()
"""
    done = python(program, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert done.returncode == 0, done.stderr
    assert ("No backend of type" in done.stdout + done.stderr) == warned, done.stderr
