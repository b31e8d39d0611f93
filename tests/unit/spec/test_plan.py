"""Plans made from the code of stock kernels, as their vmlinux has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.capture.functions import ArgumentLocation, KernelTypes, survey
from ktcpdump_tui.capture.plan import Plan, Planner
from ktcpdump_tui.capture.resolve import resolve
from ktcpdump_tui.capture.spec import parse_specs
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.text import ENDBR, NOP5, LiveText, ReservedCode
from ktcpdump_tui.model import Flow, FrameRule, ProbeState

if TYPE_CHECKING:
    from tests.unit.kernel.stock import StockKernel


def planner(stock: StockKernel, blacklist: str = "") -> Planner:
    return Planner(
        stock.kallsyms,
        LiveText(stock.memory, stock.kallsyms, stock.btf),
        KernelTypes(stock.btf),
        Blacklist(blacklist),
        ReservedCode(stock.memory, stock.kallsyms),
        frames=lambda addresses: [FrameRule(7, 8)] * len(addresses),
    )


def plan(stock: StockKernel, *texts: str, most: int | None = None, blacklist: str = "") -> Plan:
    return planner(stock, blacklist).plan(resolve(parse_specs(texts), stock.kallsyms), most)


def test_every_instruction_of_a_function(stock: StockKernel) -> None:
    made = plan(stock, "ip_rcv_core+*")
    (function,) = made.functions
    covered = sum(len(one.code) for one in made.instructions)
    assert covered == function.symbol.size
    assert [one.index for one in made.instructions] == list(range(len(made.instructions)))
    assert made.function_of == (0,) * len(made.instructions)
    assert made.asked == {"ip_rcv_core+*": len(made.addresses)}
    assert 180 < len(made.addresses) < 210
    refused = [one for one in made.instructions if one.probe is ProbeState.REFUSED]
    assert {one.text for one in refused} == {"ud2"}
    left_out = [one for one in made.instructions if one.probe is ProbeState.LEFT_OUT]
    assert {one.refusal for one in left_out} == {"padding"}
    assert all(one.text == "int3" or one.text.startswith("nop") for one in left_out)
    probed = [one for one in made.instructions if one.probe is ProbeState.ATTACHED]
    assert all(one.frame == FrameRule(7, 8) for one in probed)
    assert all(one.frame is None for one in (*refused, *left_out)), "what never runs has none"
    assert made.instructions[0].symbol == "ip_rcv_core"
    assert [one.offset for one in made.instructions] == [
        one.address - function.symbol.address for one in made.instructions
    ]


def test_what_ends_a_frame(stock: StockKernel) -> None:
    made = plan(stock, "ip_rcv+*", "dev_hard_start_xmit+*", "ip_rcv_core+*")
    for function in made.functions:
        ends = [made.at(address) for address in function.leaves]
        assert ends, function.function
        for one in ends:
            outside = one.target is not None and one.target not in function.symbol
            assert one.flow is Flow.RETURN or (one.flow is Flow.JUMP and outside)
        inside = [one for one in made.instructions if one.address not in function.leaves]
        assert not any(one.flow is Flow.RETURN for one in inside if one.symbol == function.symbol.name)


def test_the_entry_is_never_probed_twice(stock: StockKernel) -> None:
    """endbr64 is left out, and asking for it means the instruction after it."""
    (symbol,) = stock.kallsyms.find("ip_rcv")
    has_endbr = stock.memory.read(symbol.address, 4) in ENDBR
    after = symbol.address + (4 if has_endbr else 0)
    for text in ("ip_rcv", "ip_rcv+0", f"{symbol.address:#x}", f"ip_rcv+0,ip_rcv+{after - symbol.address}"):
        made = plan(stock, text)
        assert made.addresses == [after], text
        assert made.functions[0].entry == after
    made = plan(stock, "ip_rcv+*")
    assert after in made.addresses
    assert (symbol.address in made.addresses) is not has_endbr
    first = made.instructions[0]
    if has_endbr:
        assert (first.probe, first.refusal[:7]) == (ProbeState.LEFT_OUT, "endbr64")


def test_the_function_tracers_call_is_its_nop(stock: StockKernel) -> None:
    """In the file it is a call to __fentry__, in a running kernel a nop, while traced a call elsewhere."""
    made = plan(stock, "ip_rcv")
    assert made.instructions[0].code == NOP5
    assert made.instructions[0].text.startswith("nopl")


def test_behind_the_function_tracer(stock: StockKernel) -> None:
    targets = resolve(parse_specs(["ip_rcv"]), stock.kallsyms)
    at = plan(stock, "ip_rcv").functions[0].entry
    made = planner(stock).plan(targets, behind_tracer=True)
    assert made.addresses == [at + 5]
    assert made.functions[0].entry == at + 5
    whole = plan(stock, "ip_rcv+*")
    assert made.instructions[0].text == whole.at(at + 5).text


def test_fragments_belong_to_their_function(stock: StockKernel) -> None:
    if b".cold\n" not in stock.symbols_text:
        return  # Debian's 6.12 is built without -freorder-blocks-and-partition
    cold = next(
        one
        for one in stock.kallsyms.functions()
        if one.name.endswith(".cold")
        and len(stock.kallsyms.find(one.base_name)) == 1
        and len(stock.kallsyms.parts(one.base_name)) == 1
        and stock.kallsyms.find(one.base_name)[0].size < 4000
    )
    made = plan(stock, f"{cold.base_name}+*")
    (function,) = made.functions
    assert [one.name for one in function.parts] == [cold.base_name, cold.name]
    assert {one.symbol for one in made.instructions} == {cold.base_name, cold.name}
    assert any(address in cold for address in made.addresses)
    alone = plan(stock, f"{cold.name}+*")
    assert alone.functions[0].symbol.name == cold.base_name
    probed = [made.at(address) for address in alone.addresses]
    assert probed
    assert all(one.symbol == cold.name for one in probed)


def test_offsets_inside_an_instruction(stock: StockKernel) -> None:
    made = plan(stock, "ip_rcv_core+*")
    long = next(one for one in made.instructions if len(one.code) > 4 and one.offset > 10)
    with pytest.raises(UsageError, match=f"inside the instruction ip_rcv_core.{long.offset} ") as caught:
        plan(stock, f"ip_rcv_core+{long.offset + 1}")
    assert f"ip_rcv_core+{long.offset} and ip_rcv_core+{long.offset + len(long.code)}" in str(caught.value)
    exact = plan(stock, f"ip_rcv_core+{long.offset}")
    assert exact.addresses == [long.address]
    assert len(exact.instructions) == len(made.instructions)


def test_traps_and_padding_cannot_be_asked_for(stock: StockKernel) -> None:
    made = plan(stock, "ip_rcv_core+*")
    trap = next(one for one in made.instructions if one.text == "ud2")
    padding = next(one for one in made.instructions if one.refusal == "padding")
    for one in (trap, padding):
        with pytest.raises(UsageError, match="cannot be probed"):
            plan(stock, f"ip_rcv_core+{one.offset}")


def test_static_keys_are_the_kernels_own(stock: StockKernel) -> None:
    made = plan(stock, "__netif_receive_skb_core+*")
    reasons = {
        one.refusal for one in made.instructions if one.probe is ProbeState.REFUSED and one.text != "ud2"
    }
    assert any("static key" in reason for reason in reasons)
    assert any("static call" in reason for reason in reasons)
    (name,) = {one.symbol for one in made.instructions}
    assert name.startswith("__netif_receive_skb_core.")


def test_blacklisted_code(stock: StockKernel) -> None:
    (symbol,) = stock.kallsyms.find("ip_rcv")
    listing = f"0xffffffff81000000-0xffffffff81000010\tx\n{symbol.address:#x}-{symbol.end:#x}\tip_rcv\n"
    made = plan(stock, "ip_rcv+*", blacklist=listing)
    assert made.addresses == []
    assert any("blacklist" in (one.refusal or "") for one in made.instructions)


def test_the_budget(stock: StockKernel) -> None:
    whole = len(plan(stock, "ip_rcv_core+*").addresses)
    assert len(plan(stock, "ip_rcv_core+*", most=whole).addresses) == whole
    with pytest.raises(UsageError, match=f"asks for {whole} probes, and --max-probes allows {whole - 1}"):
        plan(stock, "ip_rcv_core+*", most=whole - 1)
    with pytest.raises(
        UsageError, match=r"-i tcp_\*\+\* asks for about \d\d,\d\d\d probes, and --max-probes"
    ):
        plan(stock, "tcp_*+*", most=4096)
    with pytest.raises(
        UsageError, match=rf"ask for {whole + 1} probes \(ip_rcv_core\+\*: {whole}, ip_rcv: 1\)"
    ):
        plan(stock, "ip_rcv_core+*", "ip_rcv", most=whole)


def test_specs_of_one_function_are_joined(stock: StockKernel) -> None:
    one = plan(stock, "ip_rcv_core+*")
    both = plan(stock, "ip_rcv_core", "ip_rcv_core+*", "ip_rcv_core+0")
    assert len(both.functions) == 1
    assert both.addresses == one.addresses


def test_arguments(stock: StockKernel) -> None:
    made = plan(
        stock, "ip_rcv", "ip_local_out", "nf_hook_slow", "fib_table_lookup", "__netif_receive_skb_core"
    )
    found = {one.function: (one.arguments, one.known) for one in made.functions}
    assert found["ip_rcv"] == ((ArgumentLocation(0, False, "skb"),), True)
    assert found["ip_local_out"] == ((ArgumentLocation(2, False, "skb"),), True)
    assert found["fib_table_lookup"] == ((), True)
    assert found["__netif_receive_skb_core"] == ((), False)


def test_of_several_functions_of_one_name_the_types_say_nothing(stock: StockKernel) -> None:
    """BTF knows one of them; which register the packet is in, only debug symbols can tell."""
    takers = KernelTypes(stock.btf).prototypes(None)
    assert takers is not None
    name = next(
        name
        for name in sorted(stock.kallsyms.repeated_names & takers.functions().keys())
        if len({one.address for one in stock.kallsyms.find(name, "vmlinux") if one.is_text}) > 1
    )
    made = plan(stock, f"vmlinux:{name}")
    assert len(made.functions) > 1
    assert not any(one.known for one in made.functions)


def test_refusals_reach_the_plan(stock: StockKernel) -> None:
    made = plan(stock, "ip_rcv_core+*")
    address = made.addresses[3]
    after = made.refused({address: "no"})
    assert address not in after.addresses
    assert after.at(address).refusal == "no"
    assert len(after.addresses) == len(made.addresses) - 1
    assert made.refused({}) is made


def test_a_survey_is_every_function_that_takes_a_packet(stock: StockKernel) -> None:
    types = KernelTypes(stock.btf)
    targets = survey(stock.kallsyms, types, [])
    assert len(targets) > 1400
    names = {one.symbol.name for one in targets}
    assert {"ip_rcv", "tcp_v4_rcv", "dev_hard_start_xmit", "kfree_skb_partial"} <= names
    assert not {"fib_table_lookup", "schedule"} & names
    made = planner(stock).plan(targets, max_probes=4096)
    assert len(made.functions) == len(targets)
    assert len(made.instructions) == len(targets)
    assert all(one.arguments for one in made.functions)
