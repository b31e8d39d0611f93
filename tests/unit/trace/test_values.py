"""Variables, watches, symbols and calls at the events of recorded traces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.kernel.names import pack_names
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.trace import blobs, codec, schema
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.values import TraceValues

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(params=["ping-6.12", "ping-6.1"])
def trace(request: pytest.FixtureRequest) -> Iterator[Trace]:
    """A ping of 200 bytes with TTL 17 and TOS 8 (tests/data/record.py)."""
    with Trace.open(DATA / f"{request.param}.ktrace") as opened:
        yield opened


def test_a_watch_means_the_callers_variable_where_the_inlined_functions_makes_no_sense(trace: Trace) -> None:
    values = TraceValues(trace)
    inlined = [
        event
        for event in trace.events(1, len(trace))
        if {(one.name, one.type) for one in values.variables(event)}
        >= {("iph", "const void *"), ("iph", "const struct iphdr *")}
    ]
    assert inlined
    assert {values.evaluate("iph->ttl", event).value for event in inlined} <= {17, 64}
    assert values.evaluate("iph", inlined[0]).type == "const void *"
    assert "no fields" in (values.evaluate("iph->nosuchfield", inlined[0]).why or "")


def test_in_order_and_in_any_order_the_values_are_the_same(trace: Trace) -> None:
    in_order, any_order = TraceValues(trace), TraceValues(trace)
    known = 0
    for event in trace.events(1, len(trace)):
        in_order.passes(event)
        one, other = in_order.entry_registers(event), any_order.entry_registers(event)
        assert one == other
        known += one is not None
    assert known > len(trace) // 2


def test_a_mistake_in_an_expression_is_told(trace: Trace) -> None:
    with pytest.raises(UsageError):
        TraceValues(trace).evaluate("skb->", trace.event(1))


def with_symbols(path: Path, symbols: bytes) -> Path:
    connection = schema.open_for_reading(path)
    connection.close()
    import sqlite3

    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT OR REPLACE INTO blob (name, data) VALUES (?, ?)",
            (blobs.KALLSYMS, codec.compress(pack_names(Kallsyms(symbols)))),
        )
    database.close()
    return path


def test_addresses_are_named_by_the_traces_own_symbols(trace: Trace, tmp_path: Path) -> None:
    first = trace.plan[0]
    assert TraceValues(trace).symbolise(first.address) == first.symbol
    assert TraceValues(trace).symbolise(first.address + 1) == f"{first.symbol}+1"
    with Trace.open(DATA / "version-1.ktrace") as older:
        address = older.plan[0].address
        assert TraceValues(older).symbolise(address) == older.plan[0].symbol
        assert TraceValues(older).symbolise(address + 1) is None, "an older trace has no more than its plan"
    lines = f"{first.address:016x} T {first.symbol}\n{first.address + 0x1000:016x} D init_net\n"
    path = with_symbols(Path(shutil.copy(trace.path, tmp_path / "named.ktrace")), lines.encode())
    with Trace.open(path) as named:
        values = TraceValues(named)
        assert values.symbolise(first.address + 1) == f"{first.symbol}+1"
        assert values.symbolise(first.address + 0x1008) == "init_net+8"
        assert values.symbolise(named.event(1).skb) is None
