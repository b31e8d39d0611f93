#!/usr/bin/env bash
# Client - router - server in three network namespaces; one packet (or flow) per scene, told apart by its port.
# What the kernel's own counters say afterwards goes to /tmp/scene.json.
set -eu
here=$(dirname "$0")
cleanup() {
  for n in kc kr ks; do ip netns del $n 2>/dev/null || true; done
}
trap cleanup EXIT
cleanup
for n in kc kr ks; do ip netns add $n; ip -n $n link set lo up; done
ip -n kc link add c0 type veth peer name r0 netns kr
ip -n kr link add r1 type veth peer name s0 netns ks
ip -n ks link add d0 type dummy
for pair in kc:c0:10.1.0.1/24 kr:r0:10.1.0.2/24 kr:r1:10.2.0.1/24 ks:s0:10.2.0.2/24 ks:d0:10.3.0.1/24; do
  IFS=: read -r n dev address <<<"$pair"
  ip -n "$n" address add "$address" dev "$dev"
  ip -n "$n" link set "$dev" up
done
ip -n kc route add default via 10.1.0.2
ip -n ks route add default via 10.2.0.1
ip -n kr address add 10.3.0.9/32 dev lo
ip netns exec kr sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
ip netns exec ks sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.s0.rp_filter=1
ip -n kc address add fd01::1/64 dev c0 nodad
ip -n kr address add fd01::2/64 dev r0 nodad
ip netns exec kr nft -f - <<'NFT'
table inet t {
  chain in6 { type filter hook input priority 0; policy accept; udp dport 7008 ip6 daddr fd01::2 counter drop; }
}
table ip n {
  chain pre { type nat hook prerouting priority -100; udp dport 7010 counter dnat to 10.2.0.2:7011; }
  chain post { type nat hook postrouting priority 100; udp dport 7011 counter snat to 10.2.0.1; }
}
NFT
ip netns exec ks nft -f - <<'NFT'
table inet t {
  chain in { type filter hook input priority 0; policy accept; udp dport 7002 counter drop; }
}
NFT
# the caches of neighbours are filled first, so that no scene waits for ARP
ip netns exec kc ping -c 1 -W 2 10.2.0.2 >/dev/null
ip netns exec kc ping -6 -c 1 -W 2 fd01::2 >/dev/null

send() { # netns address port payload
  ip netns exec "$1" bash -c "echo -n '$4' > /dev/udp/$2/$3"
}
ip netns exec ks python3 "$here/sink.py" 7011 7030 7040 &
sink=$!
sleep 1

send kc 10.2.0.2 7001 nobody
send kc 10.2.0.2 7002 filtered
ip netns exec kr python3 "$here/frames.py" spoofed 10.3.0.9 10.2.0.2 7003
ip netns exec kr python3 "$here/frames.py" raw r1 10.2.0.1 10.2.0.2 "$(ip netns exec ks cat /sys/class/net/s0/address)"
ip netns exec kc python3 "$here/frames.py" ttl 10.1.0.1 10.2.0.2 7005
ip netns exec kc tc qdisc add dev c0 root netem loss 100%
send kc 10.2.0.2 7006 lost || true
ip netns exec kc tc qdisc del dev c0 root
ip netns exec kc bash -c '! timeout 5 bash -c "exec 3<>/dev/tcp/10.2.0.2/7007" 2>/dev/null'
send kc fd01::2 7008 filtered6
send kc 10.1.0.2 7010 translated
ip netns exec kr tcpdump -q -n -i r1 -c 1 -w /tmp/scene.pcap udp port 7020 2>/tmp/scene.tcpdump &
listener=$!
until grep -q listening /tmp/scene.tcpdump; do sleep 0.1; done
send kc 10.2.0.2 7020 overheard
wait $listener
ip netns exec kc python3 "$here/frames.py" big 10.1.0.1 10.2.0.2 7030
ip netns exec kc ethtool -K c0 tso off >/dev/null
ip netns exec kr ethtool -K r1 tso off >/dev/null
ip netns exec ks ethtool -K s0 gro on >/dev/null
ip netns exec kc python3 "$here/frames.py" stream 10.1.0.1 10.2.0.2 7040
sleep 0.5
kill $sink 2>/dev/null || true
wait $sink 2>/dev/null || true

counter() { ip netns exec "$1" nft list table "$2" "$3" | sed -n "s/.*$4.*packets \([0-9]*\).*/\1/p"; }
snmp() { ip netns exec "$1" awk -v p="$2:" -v k="$3" '$1==p{if(!n){for(i=1;i<=NF;i++)if($i==k)n=i}else print $n}' /proc/net/snmp; }
cat >/tmp/scene.json <<JSON
{"nft_drop": $(counter ks inet t 7002), "nft6_drop": $(counter kr inet t 7008), "dnat": $(counter kr ip n 7010),
 "no_ports": $(snmp ks Udp NoPorts), "csum_errors": $(snmp ks Udp InCsumErrors), "header_errors": $(snmp kr Ip InHdrErrors),
 "bad_headers": $(snmp ks Ip InHdrErrors), "fragments": $(snmp kc Ip FragCreates), "reassembled": $(snmp ks Ip ReasmOKs),
 "overheard": $(tcpdump -n -r /tmp/scene.pcap 2>/dev/null | wc -l)}
JSON
