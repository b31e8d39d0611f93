"""Variables with known answers: a ping of a chosen size, TTL and TOS, seen in ip_rcv_core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Captured

PAYLOAD, TTL, TOS = 200, 17, 8
#: IP header, ICMP header, payload.
LENGTH = 20 + 8 + PAYLOAD
WATCHES = ("iph->ttl", "iph->tos", "skb->len", "len", "drop_reason", "ntohs(iph->tot_len) - 1")


def test_a_ping_has_the_values_it_was_sent_with(lab: Lab, capture: Callable[..., Captured]) -> None:
    watches = [word for one in WATCHES for word in ("--watch", one)]
    got = capture(
        ["--json", "-i", "ip_rcv_core+*", "-d", str(lab.vmlinux), *watches, "icmp[icmptype] == icmp-echo"],
        traffic=f"ping -c 2 -s {PAYLOAD} -t {TTL} -Q {TOS} 127.0.0.1",
        timeout=300,
    )
    events = [one for one in got.json if "watch" in one]
    assert len({one["skb"] for one in events}) >= 1
    assert len(events) > 200

    def seen(expression: str) -> set[Any]:
        return {one["watch"][expression] for one in events} - {None}

    assert seen("iph->ttl") == {TTL}
    assert seen("iph->tos") == {TOS}
    assert seen("skb->len") == {LENGTH}
    # inlined functions have a `len` of their own: pskb_may_pull(skb, sizeof(struct iphdr))
    own = [one for one in events if one["inlined_by"][0]["function"] == "ip_rcv_core"]
    assert {one["watch"]["len"] for one in own} - {None} == {LENGTH}
    assert seen("ntohs(iph->tot_len) - 1") == {LENGTH - 1}
    # SKB_DROP_REASON_NOT_SPECIFIED; SKB_CONSUMED took its number in 6.3
    assert seen("drop_reason") == {2 if lab.release.startswith("6.12") else 1}
    assert sum(one["watch"]["iph->ttl"] is not None for one in events) > 40
