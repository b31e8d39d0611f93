"""The direction of imports (CONTRIBUTING.md, "Layout"): what each package may know of the others."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ktcpdump_tui"
RECORDS = {"model", "errors", "arch", "arrays", "environment", ""}

#: Package (or module) -> packages of ours it may import, beside itself and the plain records.
MAY = {
    "model": set(),
    "errors": set(),
    "arch": set(),
    "arrays": set(),
    "environment": set(),
    "kernel": set(),
    "debuginfo": {"kernel"},
    "trace": {"kernel", "debuginfo"},
    "headless": {"trace", "debuginfo", "capture"},
    "export": {"headless", "trace", "debuginfo"},
    "capture": {"trace", "debuginfo", "kernel"},
    "lab": set(),
    "config": set(),
}
#: Package of others -> where alone it is used.
ALONE = {
    "textual": {"tui"},
    "bcc": {"capture"},
    "elftools": {"debuginfo"},
    "pyarrow": {"export"},
}


@functools.cache
def imported(path: Path) -> set[str]:
    """Return the modules a file imports, by their full names, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names |= {f"{node.module}.{each.name}" for each in node.names}
    return names


def ours(path: Path) -> str:
    """Return the package (or module) of ours that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("package", MAY)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    wrong = []
    for path in FILES:
        if ours(path) != package:
            continue
        for name in imported(path):
            top, _, rest = name.partition(".")
            known = MAY[package] | RECORDS | {package, "__version__"}
            if top == "ktcpdump_tui" and rest.partition(".")[0] not in known:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_the_screen_knows_nothing_of_how_is_captured() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in FILES
        if ours(path) == "tui"
        for name in imported(path)
        if name.split(".")[:2] == ["ktcpdump_tui", "capture"]
    ]
    assert not wrong


@pytest.mark.parametrize("library", ALONE)
def test_a_library_is_used_in_one_package(library: str) -> None:
    users = {ours(path) for path in FILES for name in imported(path) if name.split(".")[0] == library}
    assert users <= ALONE[library]


def test_importing_the_package_imports_nothing_else() -> None:
    """The lab's guest imports it, where each module costs time."""
    program = "import sys, ktcpdump_tui; print([m for m in sys.modules if m.startswith('ktcpdump_tui.')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
