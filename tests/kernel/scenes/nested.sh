#!/usr/bin/env bash
# Two namespaces that are bridged over VXLAN, and a client behind one of the bridges:
#   kn: n0 --- m0 br0 vx0 w0 (ka) --- w0 vx0 br0 (kb)
# The client pings the other bridge twice, with 184 bytes of pattern; the queues of bridges, tunnels and wires
# are then entered on top of each other. ka pings kb once more through each of an IPIP and a GRE tunnel. UDP over loopback, from processes on both CPUs, is
# interrupted by it. tracefs records every dev_hard_start_xmit: /tmp/nested.trace.
set -eu
tracing=/sys/kernel/tracing
cleanup() {
  for n in kn ka kb; do ip netns del $n 2>/dev/null || true; done
  echo 0 >$tracing/events/nested/enable 2>/dev/null || true
  echo '-:nested/xmit' >>$tracing/kprobe_events 2>/dev/null || true
}
trap cleanup EXIT
cleanup
for n in kn ka kb; do
  ip netns add $n
  ip netns exec $n sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n $n link set lo up
done
ip -n ka link add w0 type veth peer name w0 netns kb
ip -n kn link add n0 type veth peer name m0 netns ka
for end in ka:1:2 kb:2:1; do
  IFS=: read -r n own other <<<"$end"
  ip -n "$n" address add "10.1.0.$own/24" dev w0
  ip -n "$n" link set w0 up
  ip -n "$n" link add br0 type bridge
  ip -n "$n" link add vx0 type vxlan id 42 dstport 4789 local "10.1.0.$own" remote "10.1.0.$other"
  ip -n "$n" link set vx0 master br0 up
  ip -n "$n" link set br0 up
  for tunnel in ipip:7 gre:8; do
    ip -n "$n" link add "${tunnel%:*}1" type "${tunnel%:*}" local "10.1.0.$own" remote "10.1.0.$other"
    ip -n "$n" address add "10.${tunnel#*:}.0.$own/24" dev "${tunnel%:*}1"
    ip -n "$n" link set "${tunnel%:*}1" up
  done
done
ip -n ka link set m0 master br0 up
ip -n kn link set n0 up
ip -n kn address add 10.9.0.1/24 dev n0
ip -n kb address add 10.9.0.2/24 dev br0
ip netns exec kn ping -q -c 1 -W 5 10.9.0.2

echo 0 >$tracing/trace
echo 'p:nested/xmit dev_hard_start_xmit skb=%di:x64 sp=%sp:x64' >>$tracing/kprobe_events
echo 1 >$tracing/events/nested/enable
noise() {
  taskset -c "$1" python3 -c '
import socket, time
noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 30
while time.monotonic() < end:
    noise.sendto(b"noise", ("127.0.0.1", 9))
    time.sleep(0.001)' &
}
noise 0; first=$!
noise 1; second=$!
sleep 2
ip netns exec kn ping -q -c 2 -i 0.2 -s 184 -p feedbeef -W 5 10.9.0.2
for there in 10.7.0.2 10.8.0.2; do ip netns exec ka ping -q -c 1 -s 184 -p feedbeef -W 5 $there; done
kill $first $second
wait $first $second 2>/dev/null || true
echo 0 >$tracing/events/nested/enable
cat $tracing/trace >/tmp/nested.trace
