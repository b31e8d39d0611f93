"""Files of /proc, /sys and /run, made by the tests as the kernel writes them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.capture import owners
from ktcpdump_tui.capture.expedite import expedited
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.modules import Module, loaded_modules, section_addresses
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.kernel.tracefs import find_tracefs
from ktcpdump_tui.kernel.unwind import orc_tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kernel.stock import StockKernel


def test_only_live_modules_are_listed(tmp_path: Path) -> None:
    listing = tmp_path / "modules"
    listing.write_text(
        "veth 36864 0 - Live 0xffffffffc0643000\n"
        "dying 4096 0 - Unloading 0xffffffffc0700000\n"
        "tainted 8192 1 veth, Live 0xffffffffc0800000 (OE)\n"
    )
    assert loaded_modules(listing) == {
        "veth": Module("veth", 36864, 0xFFFFFFFFC0643000),
        "tainted": Module("tainted", 8192, 0xFFFFFFFFC0800000),
    }
    assert loaded_modules(tmp_path / "missing") == {}


def test_sections_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    sections = tmp_path / "veth" / "sections"
    sections.mkdir(parents=True)
    (sections / ".text").write_text("0xffffffffc0643000\n")
    (sections / ".init.text").write_text("gone")
    assert section_addresses("veth", tmp_path) == {".text": 0xFFFFFFFFC0643000}
    assert section_addresses("missing", tmp_path) == {}


def test_the_blacklist() -> None:
    listed = Blacklist("0x100-0x120\ta\n0x110-0x118\tinner\n0x300-0x301\tb\nnonsense\n")
    assert [one for one in (0xFF, 0x100, 0x119, 0x11F, 0x120, 0x300, 0x301) if one in listed] == [
        0x100,
        0x119,
        0x11F,
        0x300,
    ]
    assert len(listed) == 3


def test_tracefs_is_where_it_is_mounted(tmp_path: Path) -> None:
    places = (tmp_path / "tracing", tmp_path / "debug")
    with pytest.raises(UserError, match="no tracefs"):
        find_tracefs(places)
    places[0].mkdir()
    with pytest.raises(UserError, match="not mounted") as caught:
        find_tracefs(places)
    assert caught.value.remedy == f"mount -t tracefs tracefs {places[0]}"
    places[1].mkdir()
    (places[1] / "trace_pipe").touch()
    assert find_tracefs(places) == places[1]


class Memory:
    """Memory whose every byte is the low byte of its address."""

    def read(self, address: int, size: int) -> bytes:
        return bytes((address + n) & 0xFF for n in range(size))


@pytest.mark.parametrize("order", [("entries", "ips"), ("ips", "entries")])
def test_a_modules_tables_are_as_long_as_both_have_room_for(order: tuple[str, str]) -> None:
    """The two sections lie one behind the other, in either order, and another one follows."""
    sizes = {"entries": 60, "ips": 40}
    first, second = 0x1000, 0x1000 + sizes[order[0]]
    places = {order[0]: first, order[1]: second}
    sections = {".orc_unwind": places["entries"], ".orc_unwind_ip": places["ips"], ".data": second + 64}
    found = orc_tables(Kallsyms(b""), Memory(), "veth", sections)
    assert found is not None
    assert (len(found.ips), len(found.entries), found.address) == (40, 60, places["ips"])


def test_no_tables() -> None:
    assert orc_tables(Kallsyms(b""), Memory(), "veth", {".text": 1}) is None
    assert orc_tables(Kallsyms(b""), Memory()) is None


def test_the_kernels_tables(stock: StockKernel) -> None:
    found = orc_tables(stock.kallsyms, stock.memory)
    assert found is not None
    assert len(found.ips) // 4 == len(found.entries) // 6 > 300_000


def test_a_process_owns_its_group_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        mine, its = owners.group_name(), owners.group_name(child.pid)
        text = f"p:{mine}/a _text+1\np:{mine}/a _text+2\np:{its}/b _text+3\np:other/c x\nr4:kprobes/d y\n"
        assert owners.abandoned(text) == set()
    finally:
        child.kill()
        child.wait()
    assert owners.abandoned(text) == {f"{its}/b"}


def test_a_number_used_again_is_another_process() -> None:
    here = owners.namespace()
    group = f"ktcpdump_tui_{os.getpid()}_1_{here}"
    assert owners.abandoned(f"p:{group}/a _text+1\n") == {f"{group}/a"}


def test_a_zombie_owns_nothing() -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    group = owners.group_name(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owners.start_time(child.pid) is None
    assert owners.abandoned(f"p:{group}/a _text+1\n") == {f"{group}/a"}
    child.wait()


def test_names_that_only_look_like_ours_are_left_alone() -> None:
    groups = ("ktcpdump_tui_1", "ktcpdump_tui_1_2", "my_ktcpdump_tui_1_2_3", "ktcpdump_tui_1_2_3x")
    assert owners.abandoned("".join(f"p:{group}/a x\n" for group in groups)) == set()


@pytest.mark.parametrize("before", ["0", "1"])
def test_the_switch_gets_its_value_back(tmp_path: Path, before: str) -> None:
    switch, lock = tmp_path / "rcu_expedited", tmp_path / "lock"
    switch.write_text(f"{before}\n")
    with pytest.raises(KeyError), expedited(switch, lock):
        assert switch.read_text() == "1"
        raise KeyError
    assert (switch.read_text(), lock.read_text()) == (before, "")


def test_what_a_killed_process_left_on_is_switched_off(tmp_path: Path) -> None:
    switch, lock = tmp_path / "rcu_expedited", tmp_path / "lock"
    switch.write_text("1\n")
    lock.write_text("0")
    with expedited(switch, lock):
        assert switch.read_text() == "1"
    assert (switch.read_text(), lock.read_text()) == ("0", "")


def test_without_the_switch_it_just_takes_longer(tmp_path: Path) -> None:
    with expedited(tmp_path / "missing", tmp_path / "lock"):
        pass
    with expedited(tmp_path / "missing", tmp_path / "no" / "lock"):
        pass
