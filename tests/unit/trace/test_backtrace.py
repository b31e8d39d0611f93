"""Call chains in recorded traces of a real kernel: exact where shown, gaps where they are not known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ktcpdump_tui.model import Flow
from ktcpdump_tui.trace.backtrace import Level, Unknown, backtrace
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.values import TraceValues

DATA = Path(__file__).parents[2] / "data"

#: Functions of four-ways-6.12 of which every instruction has a probe.
WHOLE = frozenset(("ip_rcv_core", "ip_forward", "nf_hook_slow"))


@pytest.fixture(scope="module")
def four_ways():
    with Trace.open(DATA / "four-ways-6.12.ktrace") as trace:
        yield trace


@pytest.fixture(scope="module")
def chain_of(four_ways):
    names = TraceValues(four_ways)
    return lambda no: backtrace(four_ways, four_ways.event(no), names.symbolise)


def said(chain):
    return [
        f"{one.function} {one.file}:{one.line}" if one.file else one.function
        for one in chain
        if isinstance(one, Level)
    ]


def test_inlined_functions_callers_and_the_name_of_who_is_not_traced(chain_of):
    chain = chain_of(911)
    assert said(chain) == [
        "NF_DROP_GETERR include/linux/netfilter.h:22",
        "nf_hook_slow net/netfilter/core.c:643",
        "nf_hook include/linux/netfilter.h:271",
        "NF_HOOK include/linux/netfilter.h:314",
        "ip_forward net/ipv4/ip_forward.c:162",
        "__netif_receive_skb_one_core+137",
    ]
    assert [one.inlined for one in chain if isinstance(one, Level)] == [True, False, True, True, False, False]
    assert isinstance(chain[-1], Unknown)
    assert len(chain) == 7


def test_a_frame_leads_to_the_event_of_its_call(chain_of, four_ways):
    caller = chain_of(911)[4]
    event = four_ways.event(caller.no)
    assert (event.instruction.symbol, event.instruction.flow) == ("ip_forward", Flow.CALL)
    assert event.cfa == caller.cfa
    assert event.instruction.inlined_by[caller.up].function == "ip_forward"


def test_every_frame_that_return_addresses_lead_to_was_last_seen_at_that_call(four_ways):
    """The oracle: where every instruction is recorded, a caller's last event is the call itself."""
    names = TraceValues(four_ways)
    found = Counter()
    for event in four_ways.events(1, len(four_ways)):
        for one in backtrace(four_ways, event, names.symbolise):
            if isinstance(one, Unknown) or one.cfa in (None, event.cfa) or not one.open or one.inlined:
                continue
            call = four_ways.event(one.no)
            assert call.packet_id == event.packet_id
            assert call.no < event.no
            if one.function in WHOLE:
                assert call.instruction.flow is Flow.CALL, f"event {event.no}"
                assert call.instruction.ksym == one.ksym
                found[event.instruction.symbol, one.function] += 1
    assert found["nf_hook_slow", "ip_forward"] > 50
    assert found["nft_do_chain", "nf_hook_slow"] > 20
    assert found["nft_do_chain", "ip_forward"] == found["nft_do_chain", "nf_hook_slow"]


def test_beyond_an_untraced_caller_there_is_a_gap_before_the_traced_one(chain_of):
    chain = chain_of(901)
    assert said(chain[:3])[-1] == "nft_do_chain_ipv4+116"
    assert isinstance(chain[3], Unknown)
    assert chain[4].function == "nf_hook_entry_hookfn"


def test_a_function_that_returned_unseen_is_not_claimed_to_be_a_caller(chain_of):
    """ip_forward_finish was entered and only its entry is probed; ip_rcv came later from the same place."""
    chain = chain_of(528)
    assert said(chain)[2] == "ip_rcv+53"
    doubtful = [one for one in chain if isinstance(one, Level) and not one.open]
    assert [one.function for one in doubtful] == ["ip_forward_finish"]


def test_a_traced_function_whose_return_address_was_overwritten_is_left_out(chain_of):
    for no in range(40, 120):
        assert "ip_rcv_finish_core.constprop.0" not in {
            one.function for one in chain_of(no)[3:] if isinstance(one, Level)
        }


def test_a_trace_without_names_shows_addresses():
    with Trace.open(DATA / "version-1.ktrace") as trace:
        chain = backtrace(trace, trace.event(200), TraceValues(trace).symbolise)
    assert chain[-2].function.startswith("0xffffffff")
    assert isinstance(chain[-1], Unknown)
