#!/usr/bin/env bash
# Client - router - server in three network namespaces, and one flow through them (flow.py) that a socket receives.
set -eu
here=$(dirname "$0")
cleanup() {
  for n in fc fr fs; do ip netns del $n 2>/dev/null || true; done
}
trap cleanup EXIT
cleanup
for n in fc fr fs; do ip netns add $n; ip -n $n link set lo up; done
ip -n fc link add c0 type veth peer name r0 netns fr
ip -n fr link add r1 type veth peer name s0 netns fs
for pair in fc:c0:10.1.0.1/24 fr:r0:10.1.0.2/24 fr:r1:10.2.0.1/24 fs:s0:10.2.0.2/24; do
  IFS=: read -r n device address <<<"$pair"
  ip -n "$n" address add "$address" dev "$device"
  ip -n "$n" link set "$device" up
done
ip -n fc route add default via 10.1.0.2
ip -n fs route add default via 10.2.0.1
ip netns exec fr sysctl -qw net.ipv4.ip_forward=1
ip netns exec fs nft -f - <<'NFT'
table inet t {
  chain in { type filter hook input priority 0; policy accept; udp dport 7011 ip dscp cs1 counter drop; }
}
NFT
# the caches of neighbours are filled first, so that no packet waits for ARP
ip netns exec fc ping -q -c 1 -W 5 10.2.0.2
ip netns exec fs python3 "$here/sink.py" 7011 &
sink=$!
sleep 1
ip netns exec fc python3 "$here/flow.py" c0 10.1.0.1 10.2.0.2 "$(ip netns exec fr cat /sys/class/net/r0/address)"
sleep 1
kill $sink
wait $sink || true
