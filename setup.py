# SPDX-License-Identifier: Apache-2.0
"""Wiring only: CMake builds native/, cffi builds the module that opens what CMake built.

Everything that is a fact about the package is in pyproject.toml; everything about compiling the
library is in native/CMakeLists.txt.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NATIVE_BUILD = ROOT / "build" / "native"
# What CMake makes and the package ships in flexlink/lib/: (path below the build folder, required).
PRODUCTS = (("libflexlink.so", True), ("perf/flexlink_perf", False))


def tool(name: str) -> str:
    """Path of cmake or ninja: the one that the build requirements brought, else the system's."""
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if found is None:
        sys.exit(
            f"flexlink: building needs {name}, and it is neither beside {sys.executable} nor "
            f"on PATH. 'pip install {name}' brings it."
        )
    return found


def build_native() -> list[Path]:
    """Configures and builds native/ and returns the files that belong into the package."""
    cmake, ninja = tool("cmake"), tool("ninja")
    configure = [
        cmake,
        "-S",
        str(ROOT / "native"),
        "-B",
        str(NATIVE_BUILD),
        "-G",
        "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DFLEXLINK_TESTS=OFF",
    ]
    jobs = os.environ.get("FLEXLINK_BUILD_JOBS") or str(len(os.sched_getaffinity(0)))
    subprocess.run(configure, check=True)
    subprocess.run([ninja, "-C", str(NATIVE_BUILD), "-j", jobs], check=True)
    products = [NATIVE_BUILD / name for name, _ in PRODUCTS]
    for product, (name, required) in zip(products, PRODUCTS, strict=True):
        if required and not product.exists():
            sys.exit(f"flexlink: CMake finished without making {name} in {NATIVE_BUILD}")
    return [product for product in products if product.exists()]


class BuildPackage(build_py):
    """Starts from an empty folder, so that a module deleted from the source leaves the wheel."""

    def run(self) -> None:
        shutil.rmtree(Path(self.build_lib) / "flexlink", ignore_errors=True)
        super().run()


def add_torch_plugin(folder: Path) -> None:
    """Puts the torch plugin's sources into the package, and its binary where torch is here."""
    sources = folder / "torch_source"
    shutil.rmtree(sources, ignore_errors=True)
    (sources / "include" / "flexlink").mkdir(parents=True)
    for path in (ROOT / "plugins" / "torch").glob("*.[ch]*"):
        shutil.copy2(path, sources / path.name)
    for path in (ROOT / "native" / "include" / "flexlink").glob("*.h"):
        shutil.copy2(path, sources / "include" / "flexlink" / path.name)
    if importlib.util.find_spec("torch") is None:
        return
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"  # an older plugin must not be loaded
    sys.path.insert(0, str(ROOT))
    from flexlink.torch.build import compiled

    plugin = compiled(sources, ROOT / "build" / "torch")
    (folder / "torch").mkdir(exist_ok=True)
    shutil.copy2(plugin, folder / "torch" / plugin.name)


class BuildNative(build_ext):
    """Adds the library, the perf program and the torch plugin beside the cffi module."""

    def run(self) -> None:
        products = build_native()
        super().run()
        package = ROOT / "flexlink" if self.inplace else Path(self.build_lib) / "flexlink"
        (package / "lib").mkdir(parents=True, exist_ok=True)
        for product in products:
            shutil.copy2(product, package / "lib" / product.name)
        add_torch_plugin(package / "lib")


(ROOT / "build" / "python").mkdir(parents=True, exist_ok=True)
setup(
    cffi_modules=["bindings/build_cffi.py:builder"],
    cmdclass={"build_py": BuildPackage, "build_ext": BuildNative},
    options={
        "build": {"build_base": "build/python"},
        "bdist_wheel": {"py_limited_api": "cp310"},
        "egg_info": {"egg_base": "build/python"},
    },
)
