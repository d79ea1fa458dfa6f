# SPDX-License-Identifier: Apache-2.0
"""torch.distributed's backend "flexlink".

``torch.distributed.init_process_group("flexlink")`` works without importing this: torch does so at
the end of `import torch` (entry point group ``torch.backends``). Where that is switched off
(TORCH_DEVICE_BACKEND_AUTOLOAD=0), importing this registers the backend.

Nothing native is loaded before the first process group is made.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import threading
from types import ModuleType
from typing import Any

GPU = "cuda"  # torch's name for devices whose memory CUDA knows; tests have another
_lock = threading.Lock()
_plugin: ModuleType | None = None


def autoload() -> None:
    """Torch's entry point: registers the backend; never raises, for it runs in every program."""
    try:
        register()
    except Exception as error:
        import warnings

        warnings.warn(f'flexlink: no torch.distributed backend "flexlink": {error}', stacklevel=2)


def register() -> None:
    """Makes "flexlink" a backend string of torch.distributed; again is harmless."""
    from torch import distributed

    if not distributed.is_available() or hasattr(distributed.Backend, "FLEXLINK"):
        return
    distributed.Backend.register_backend(
        "flexlink", _create, extended_api=True, devices=["cpu", GPU]
    )


def plugin() -> ModuleType:
    """The compiled module; the first call in a process may compile it (see build.py).

    Raises:
        FlexlinkError: there is no plugin for this torch and it cannot be compiled; says why.
    """
    global _plugin
    with _lock:
        if _plugin is None:
            from flexlink.torch.build import plugin_path

            path = str(plugin_path())
            loader = importlib.machinery.ExtensionFileLoader("flexlink_c10d", path)
            spec = importlib.util.spec_from_loader("flexlink_c10d", loader, origin=path)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            _plugin = module
        return _plugin


def _create(options: Any, pg_options: Any) -> Any:
    """What torch calls on every rank of a new group.

    Raises:
        TypeError: `pg_options` are another backend's.
    """
    from flexlink._native import library_path

    timeout = _time_limit(options.timeout, pg_options)
    return plugin().FlexlinkBackend(
        library=str(library_path()),
        gpu=GPU,
        store=options.store,
        rank=options.group_rank,
        size=options.group_size,
        timeout=timeout,
        name=options.group_id,
        ranks=options.global_ranks_in_group or list(range(options.group_size)),
    )


def flight_record(include_stack_trace: bool = True, only_active: bool = False) -> bytes:
    """The last operations of this process, pickled as torch's flight recorder does.

    ``python -m torch.distributed.flight_recorder.fr_trace FOLDER`` reads one file of such bytes
    for each rank, named PREFIX0, PREFIX1 and so on. TORCH_FR_BUFFER_SIZE (2000) says how many
    operations are kept; where TORCH_FR_DUMP_TEMP_FILE names a prefix, the first operation that
    fails writes this rank's file.
    """
    record: bytes = plugin().flight_record(include_stack_trace, only_active)
    return record


def _time_limit(timeout: Any, pg_options: Any) -> Any:
    """The one thing that a group can be told: torch's base class of all options carries a limit,
    which counts before `timeout` where somebody has set it."""
    from torch._C._distributed_c10d import Backend
    from torch.distributed.constants import default_pg_timeout

    if pg_options is None:
        return timeout
    if not isinstance(pg_options, Backend.Options) or pg_options.backend != "flexlink":
        theirs = getattr(pg_options, "backend", None)
        raise TypeError(
            f"flexlink: pg_options is {type(pg_options).__qualname__}"
            f"{f' of the backend {theirs!r}' if theirs else ''}, and the backend flexlink has no "
            "options but a time limit. Leave pg_options out; for the limit pass timeout="
        )
    limit = pg_options._timeout
    return timeout if limit == default_pg_timeout else limit


autoload()
