"""The inner packet of a tunnel: C that finds where it begins, and runs a filter on it.

Known are VXLAN (RFC 7348, and Linux's older port 8472), Geneve (RFC 8926), GRE with a key, checksum or
sequence number (RFC 2784, 2890) carrying Ethernet or IP, IP in IP and 6in4 (RFC 2003, 2473, 4213), each over
IPv4 or IPv6, after VLAN tags and IPv6 extension headers. One level is unpacked: of a tunnel in a tunnel the
inner packet is that of the outer one.
"""

from __future__ import annotations

from string import Template
from typing import Final

#: VLAN tags and IPv6 extension headers that are stepped over.
_TAGS: Final = 2
_EXTENSIONS: Final = 4

_TAG: Final = """\
	if (type == 0x8100 || type == 0x88a8 || type == 0x9100) {
		KTD_HEADER(4);
		type = ktd_load2(h + 2);
		o += 4;
	}
"""

# RFC 8200 section 4: hop-by-hop 0, routing 43, fragment 44, destination options 60. Linux's ip6_tunnel puts
# a destination option before the inner packet unless told otherwise.
_EXTENSION: Final = """\
		if (proto == 0 || proto == 43 || proto == 60) {
			KTD_HEADER(8);
			proto = ktd_load1(h);
			o += ((ktd_u64)ktd_load1(h + 1) + 1) << 3;
		} else if (proto == 44) {
			KTD_HEADER(8);
			if (ktd_load2(h + 2) & 0xfff8) return 0;
			proto = ktd_load1(h);
			o += 8;
		}
"""

_SOURCE: Final = Template("""\
#define KTD_HEADER(bytes) \\
	if (o + (bytes) > caplen) return 0; \\
	h = pkt + ktd_bounded(o, $mask)
KTD_INLINE int $name(const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen, int ethernet)
{
	const ktd_u8 *h;
	ktd_u64 o = 0;
	ktd_u32 type, proto, word;

	if (ethernet) {
		KTD_HEADER(14);
		type = ktd_load2(h + 12);
		o = 14;
	} else {
		KTD_HEADER(1);
		word = ktd_load1(h) >> 4;
		type = word == 4 ? 0x0800 : word == 6 ? 0x86dd : 0;
	}
$tags
	if (type == 0x0800) {
		KTD_HEADER(20);
		word = (ktd_load1(h) & 0xf) << 2;
		if (word < 20 || ktd_load2(h + 6) & 0x1fff) return 0;
		proto = ktd_load1(h + 9);
		o += word;
	} else if (type == 0x86dd) {
		KTD_HEADER(40);
		proto = ktd_load1(h + 6);
		o += 40;
$extensions
	} else {
		return 0;
	}

	if (proto == 17) {
		KTD_HEADER(16);
		word = ktd_load2(h + 2);
		if (word == 4789 || word == 8472) {
			if (!(ktd_load1(h + 8) & 0x08)) return 0;
			type = 0x6558;
			o += 16;
		} else if (word == 6081) {
			word = ktd_load1(h + 8);
			if (word >> 6) return 0;
			type = ktd_load2(h + 10);
			o += 16 + ((word & 0x3f) << 2);
		} else {
			return 0;
		}
	} else if (proto == 47) {
		KTD_HEADER(4);
		word = ktd_load2(h);
		if (word & 0x4007) return 0;
		type = ktd_load2(h + 2);
		o += 4 + (word & 0x8000 ? 4 : 0) + (word & 0x2000 ? 4 : 0) + (word & 0x1000 ? 4 : 0);
	} else if (proto == 4 || proto == 41) {
		type = 0x0800;
	} else {
		return 0;
	}

	KTD_HEADER(0);
	if (type == 0x6558) return ${inner}_ether(h, caplen - (ktd_u32)o, wirelen - (ktd_u32)o);
	if (type == 0x0800 || type == 0x86dd) return ${inner}_raw(h, caplen - (ktd_u32)o, wirelen - (ktd_u32)o);
	return 0;
}
#undef KTD_HEADER
""")


def tunnel_c(name: str, inner: str, mask: int) -> str:
    """Return the C function ``int name(pkt, caplen, wirelen, ethernet)``.

    It finds the packet inside the tunnel and returns what ``{inner}_ether`` or ``{inner}_raw`` says of it;
    0 for a packet that is in no tunnel. ``ethernet`` tells what the outer packet begins with. ``mask`` is
    that of the buffer, which must be twice as long as for the filter alone: the inner filter's offsets
    count from the inner packet's start.
    """
    return _SOURCE.substitute(
        name=name, inner=inner, mask=mask, tags=_TAG * _TAGS, extensions=_EXTENSION * _EXTENSIONS
    )
