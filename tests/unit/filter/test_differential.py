"""The translated filter against libpcap's pcap_offline_filter(): every expression on every packet."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.capture.filter import compile_filter
from ktcpdump_tui.errors import UsageError

SNAPLEN = 512
LINKS = {"ethernet": 1, "raw": 12}  # <pcap/dlt.h>
LISTED = [
    "" if line == "<empty>" else line
    for line in (Path(__file__).parent / "expressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def generated(count: int) -> list[str]:
    """Return expressions put together from the listed ones; some are contradictions that libpcap refuses."""
    chance = random.Random(4)
    parts = [e for e in LISTED if e and len(e) < 60 and not e.startswith(("vlan", "mpls", "pppoe", "geneve"))]

    def tree(depth: int) -> str:
        if depth == 0:
            return f"({chance.choice(parts)})"
        kind = chance.random()
        if kind < 0.2:
            return f"not {tree(depth - 1)}"
        return f"({tree(depth - 1)} {chance.choice(('and', 'or', '&&', '||'))} {tree(depth - 1)})"

    prefixes = ["", "", "", "", "vlan and ", "vlan 5 or ", "mpls and ", "pppoes and "]
    return [chance.choice(prefixes) + tree(chance.choice((1, 1, 2, 2, 3))) for _ in range(count)]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory, native, oracle, corpora):
    """{(expression, link): (ours, libpcap's)} with one verdict per packet."""
    expressions = LISTED + generated(100)
    filters = {}
    for expression in expressions:
        try:
            filters[expression] = compile_filter(expression, snaplen=SNAPLEN)
        except UsageError as error:
            filters[expression] = error
    sources, names, wanted = [], [], []
    for number, (expression, compiled) in enumerate(filters.items()):
        if isinstance(compiled, UsageError):
            continue
        sources.append(compiled.to_c(f"f{number}"))
        names += [f"f{number}_ether", f"f{number}_raw"]
        wanted += [(expression, "ethernet"), (expression, "raw")]
    machine = native(tmp_path_factory.mktemp("native"), sources, names)
    ours = {key: machine.run(which, corpora[key[1]]) for which, key in enumerate(wanted)}
    return {
        (expression, link): (
            ours.get((expression, link)),
            oracle.run(expression, number, corpora[link]),
            filters[expression],
        )
        for expression in filters
        for link, number in LINKS.items()
    }


def test_there_are_enough_expressions_and_packets(verdicts, corpora):
    compiled = {expression for (expression, _), (ours, _, _) in verdicts.items() if ours is not None}
    assert len(compiled) >= 350
    assert len(LISTED) >= 300
    assert all(len(corpus) == 2000 for corpus in corpora.values())


def test_every_verdict_is_libpcaps(verdicts):
    wrong = []
    for (expression, link), (ours, libpcaps, compiled) in verdicts.items():
        if isinstance(compiled, UsageError):
            continue
        if libpcaps is None:  # refused for this link type alone: then nothing of it is ever selected
            assert link in compiled.never
            libpcaps = np.zeros_like(ours)
        differ = np.flatnonzero(ours != libpcaps)
        if differ.size:
            wrong.append((expression, link, differ[:5].tolist()))
    assert not wrong


def test_refused_expressions_are_refused_by_libpcap_too(verdicts):
    for (_, _), (_, libpcaps, compiled) in verdicts.items():
        if isinstance(compiled, UsageError):
            assert libpcaps is None


def test_the_packets_tell_the_expressions_apart(verdicts):
    # A comparison on packets that nothing selects would prove little.
    selected = {
        expression: sum(int(verdicts[expression, link][0].sum()) for link in LINKS)
        for expression in LISTED
        if verdicts[expression, "ethernet"][0] is not None
    }
    never = [expression for expression, count in selected.items() if count == 0]
    assert len(never) <= len(LISTED) // 20, never
    assert sum(0 < count < 4000 for count in selected.values()) > 0.9 * len(LISTED)
