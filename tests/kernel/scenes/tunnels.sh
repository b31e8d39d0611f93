#!/usr/bin/env bash
# Two network namespaces with one wire between them, and over it: plain packets, VLAN 5, VXLAN and IP in IP.
# Sent from 10.N.0.1 to 10.N.0.2: N = 1 plain: 2 pings; 5 VLAN: 3 pings; 6 VXLAN: 2 pings, 3 datagrams to port
# 4242; 7 IP in IP: 2 datagrams to port 4242, 1 to 4243. Pings are answered.
set -eu
cleanup() {
  for n in ka kb; do ip netns del $n 2>/dev/null || true; done
}
trap cleanup EXIT
cleanup
for n in ka kb; do
  ip netns add $n
  # Without the multicast of IPv6 nothing is sent, and answered with ICMP, but what is listed above.
  ip netns exec $n sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n $n link set lo up
done
ip -n ka link add w0 type veth peer name w0 netns kb
for end in ka:1:2 kb:2:1; do
  IFS=: read -r n own other <<<"$end"
  ip -n "$n" address add "10.1.0.$own/24" dev w0
  ip -n "$n" link set w0 up
  ip -n "$n" link add link w0 name w0.5 type vlan id 5
  ip -n "$n" link add vx0 type vxlan id 42 dstport 4789 local "10.1.0.$own" remote "10.1.0.$other"
  ip -n "$n" link add tun0 type ipip local "10.1.0.$own" remote "10.1.0.$other"
  for device in w0.5:5 vx0:6 tun0:7; do
    ip -n "$n" address add "10.${device#*:}.0.$own/24" dev "${device%:*}"
    ip -n "$n" link set "${device%:*}" up
  done
done
in_a() { ip netns exec ka "$@"; }
in_a ping -q -c 2 -i 0.2 -W 5 10.1.0.2
in_a ping -q -c 3 -i 0.2 -W 5 10.5.0.2
in_a ping -q -c 2 -i 0.2 -W 5 10.6.0.2
for _ in 1 2 3; do in_a bash -c 'echo -n datagram > /dev/udp/10.6.0.2/4242'; done
for port in 4242 4242 4243; do in_a bash -c "echo -n datagram > /dev/udp/10.7.0.2/$port"; done
sleep 0.5
