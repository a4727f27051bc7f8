/* SPDX-License-Identifier: GPL-2.0-only */
/* The frame parser, and the only place with bounds checks and pointer arithmetic on frame bytes. Knows Ethernet and
 * 802.1Q tags, nothing of ports or policy. */
#ifndef SXDP_FRAME_H
#define SXDP_FRAME_H

#include "abi/types.h"

enum sxdp_ethernet {
	SXDP_ETH_HEADER_BYTES = 14,
	SXDP_TAG_BYTES = 4,
	SXDP_ETH_TYPE_OFFSET = 12,
	SXDP_ETH_LEAST_TYPE = 0x600,  /* below, it is a length (802.3) */
	SXDP_TPID_8021Q = 0x8100,
	SXDP_TPID_8021AD = 0x88a8,
	SXDP_TPID_9100 = 0x9100,
	SXDP_ETH_CONTROL = 0x8800,
	SXDP_ETH_CONTROL_MASK = 0xff00,
	SXDP_ETH_PAUSE = 0x8808,
	SXDP_ETH_SLOW = 0x8809,     /* LACP */
	SXDP_ETH_EAPOL = 0x888e,
	SXDP_ETH_LLDP = 0x88cc,
	SXDP_ETH_PTP = 0x88f7,
	SXDP_ETH_IPV6 = 0x86dd,
	SXDP_ETH_LOOPBACK = 0x9000,  /* Configuration Testing Protocol */
};

#define SXDP_MAC_BROADCAST 0xffffffffffffULL

/* Behind the Ethernet header of TCP over IPv6 with more than 64 KB: the jumbo option (RFC 2675) in a header of its own. Only what is
 * looked at has a name. */
struct sxdp_big_header {
	__u8 version_to_flow[4];
	__u8 payload_bytes[2];
	__u8 next_header;
	__u8 hop_limit_to_destination[33];
	__u8 option_next_header;
	__u8 option_words;
	__u8 option_type;
	__u8 option_bytes[5];
	__u8 tcp_ports_to_acknowledgement[12];
	__u8 tcp_words;             /* in its high four bits */
	__u8 tcp_flags;
};
_Static_assert(sizeof(struct sxdp_big_header) == 62, "sxdp_big_header");

/* The beginning of an IPv4 or IPv6 header, as far as it tells where the next one starts. */
struct sxdp_network {
	__u8 version;               /* in its high four bits; words of an IPv4 header in the low ones */
	__u8 lengths_and_more[5];
	__u8 next_header;           /* of IPv6 */
	__u8 hop_limit_and_more[2];
	__u8 protocol;              /* of IPv4 */
};
_Static_assert(sizeof(struct sxdp_network) == 10, "sxdp_network");

enum sxdp_transport {
	SXDP_NEXT_IS_UDP = 17,
	SXDP_UDP_HEADER_BYTES = 8,
	SXDP_TCP_WORDS_OFFSET = 12,
};

enum sxdp_big {
	SXDP_IPV6_MOST_BYTES = 65535,
	SXDP_IPV6_HEADER_BYTES = 40,
	SXDP_NEXT_IS_OPTIONS = 0,
	SXDP_NEXT_IS_TCP = 6,
	SXDP_OPTION_JUMBO = 0xc2,
};

/* What the kernel calls the type of a frame that has a length instead (linux/if_ether.h). */
enum sxdp_protocol_of_length {
	SXDP_PROTOCOL_802_3 = 0x0001,
	SXDP_PROTOCOL_802_2 = 0x0004,
};

/* Lives in registers only, hence words for all: BPF has no cheaper ones. */
struct sxdp_frame {
	__u64 destination;
	__u64 source;
	__u64 length_bytes;         /* from the destination address to the end, with every tag */
	__u64 type;                 /* EtherType behind the outer tag */
	__u64 tpid;                 /* of the outer tag, 0 = untagged */
	__u64 tci;
	__u64 tag_bytes;            /* of tags that stand in the bytes, not in the skb's metadata */
};

static __always_inline __u16 frame_be16(const __u8 *at)
{
	return (__u16)(at[0] << 8 | at[1]);
}

static __always_inline int frame_is_big(const struct sxdp_big_header *header)
{
	return header->next_header == SXDP_NEXT_IS_OPTIONS && header->option_next_header == SXDP_NEXT_IS_TCP &&
	       header->option_words == 0 && header->option_type == SXDP_OPTION_JUMBO;
}

/* What a segment of it will be, behind the Ethernet header. */
static __always_inline __u64 frame_big_segment_bytes(const struct sxdp_big_header *header, __u64 payload_bytes)
{
	return SXDP_IPV6_HEADER_BYTES + (header->tcp_words >> 4) * 4 + payload_bytes;
}

static __always_inline int frame_is_ipv6(const struct sxdp_network *network)
{
	return network->version >> 4 == 6;
}

static __always_inline __u8 frame_protocol(const struct sxdp_network *network)
{
	return frame_is_ipv6(network) ? network->next_header : network->protocol;
}

static __always_inline __u64 frame_network_bytes(const struct sxdp_network *network)
{
	return frame_is_ipv6(network) ? SXDP_IPV6_HEADER_BYTES : (__u64)(network->version & 0xf) * 4;
}

/* Of a super-frame, how many frames it becomes. */
static __always_inline __u64 frame_segments(__u64 length_bytes, __u64 header_bytes, __u64 payload_bytes)
{
	__u64 all_payload_bytes = length_bytes > header_bytes ? length_bytes - header_bytes : 1;

	return (all_payload_bytes + payload_bytes - 1) / payload_bytes;
}

/* Whoever has a queue of its own cuts a super-frame up under the lock of that queue, with its CPU held: 2 us a segment. The stack of
 * a guest makes none of more segments than its device says (gso_max_segs, which is this number); one that a guest's program makes
 * of tens of thousands would hold up all who send there. Headers count as payload: it is told before they are read. */
static __always_inline int frame_is_crumbs(__u64 length_bytes, __u64 payload_bytes)
{
	return length_bytes > payload_bytes * SXDP_MAX_SEGMENTS;
}

/* All that its segments will be together, when each has these headers. */
static __always_inline __u64 frame_wire_bytes(__u64 length_bytes, __u64 header_bytes, __u64 payload_bytes)
{
	return length_bytes + (frame_segments(length_bytes, header_bytes, payload_bytes) - 1) * header_bytes;
}

/* The same, where a guest has put in front of the payload what is not read here: extension headers, or another packet. No segment is
 * longer than the port lets pass. */
static __always_inline __u64 frame_most_wire_bytes(__u64 length_bytes, __u64 payload_bytes, __u64 mtu_bytes)
{
	return frame_segments(length_bytes, 0, payload_bytes) * (mtu_bytes + SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES);
}

/* Eight bytes at once, as the machine orders them: an address in the low six. */
static __always_inline __u64 frame_word(const __u8 *at)
{
	return *(const __u64 *)at;
}

static __always_inline int frame_is_tag(__u64 type)
{
	return type == SXDP_TPID_8021Q || type == SXDP_TPID_8021AD || type == SXDP_TPID_9100;
}

/* Whether the kernel takes a frame for what its bytes say. */
static __always_inline int frame_type_agrees(__u64 type, __u64 protocol)
{
	if (type >= SXDP_ETH_LEAST_TYPE)
		return protocol == type;
	return protocol == SXDP_PROTOCOL_802_3 || protocol == SXDP_PROTOCOL_802_2;
}

static __always_inline int frame_is_multicast(__u64 mac)
{
	return (int)(mac & 1);
}

/* What a device's MTU bounds. */
static __always_inline __u64 frame_payload_bytes(const struct sxdp_frame *frame)
{
	return frame->length_bytes - SXDP_ETH_HEADER_BYTES - frame->tag_bytes;
}

/* Whether its tag says in which VLAN it is. A priority tag says none. */
static __always_inline int frame_names_vlan(const struct sxdp_frame *frame)
{
	return frame->tpid && frame->tci & SXDP_VLAN_MASK;
}

/* Whether a tag of the guest's own is behind the one that says the VLAN, or stands for none. */
static __always_inline int frame_has_inner_tag(const struct sxdp_frame *frame)
{
	return frame_is_tag(frame->type);
}

/* Its tag is the guest's own, and says no VLAN of the switch. */
static __always_inline void frame_take_tag_for_inner(struct sxdp_frame *frame)
{
	frame->type = frame->tpid;
	frame->tpid = 0;
	frame->tci = 0;
}

/* What a tag that the switch gives begins with. */
static __always_inline __u16 frame_tpid_of(__u64 vlan)
{
	return vlan & SXDP_VLAN_SERVICE ? SXDP_TPID_8021AD : SXDP_TPID_8021Q;
}

/* A frame from one station to another, without a tag. What control.h knows by its type is another rule's. */
static __always_inline int frame_is_plain(const struct sxdp_frame *frame)
{
	return !frame_is_tag(frame->type) && !frame_is_multicast(frame->destination) && !frame_is_multicast(frame->source) &&
	       frame->source;
}

/* The Ethernet header as two words that overlap: bytes 0 to 7, and 6 to 13. Returns 0, or -1 when it is cut off. */
static __always_inline int frame_ends(const void *data, const void *data_end, __u64 *head, __u64 *tail)
{
	const __u8 *bytes = data;

	if (bytes + SXDP_ETH_HEADER_BYTES > (const __u8 *)data_end)
		return -1;
	*head = frame_word(bytes);
	*tail = frame_word(bytes + 6);
	return 0;
}

/* Reads addresses and type; what stands there may be a tag. length_bytes is the caller's, as only the context knows what is
 * not linear. Returns 0, or -1 when the header is cut off, as does frame_parse_tag(). */
static __always_inline int frame_parse(struct sxdp_frame *frame, const void *data, const void *data_end)
{
	const __u8 *bytes = data;
	__u64 source_and_type;

	if (bytes + SXDP_ETH_HEADER_BYTES > (const __u8 *)data_end)
		return -1;
	source_and_type = frame_word(bytes + 6);
	frame->destination = frame_word(bytes) & SXDP_MAC_BROADCAST;
	frame->source = source_and_type & SXDP_MAC_BROADCAST;
	frame->type = __builtin_bswap16((__u16)(source_and_type >> 48));
	frame->tpid = 0;
	frame->tci = 0;
	frame->tag_bytes = 0;
	return 0;
}

/* Of a frame whose type is a tag's: reads the tag and the type behind it. */
static __always_inline int frame_parse_tag(struct sxdp_frame *frame, const void *data, const void *data_end)
{
	const __u8 *bytes = data;

	if (bytes + SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES > (const __u8 *)data_end)
		return -1;
	frame->tpid = frame->type;
	frame->tci = frame_be16(bytes + SXDP_ETH_TYPE_OFFSET + 2);
	frame->type = frame_be16(bytes + SXDP_ETH_TYPE_OFFSET + SXDP_TAG_BYTES);
	frame->tag_bytes = SXDP_TAG_BYTES;
	return 0;
}

/* Of a frame whose headers were read: what follows them, when that is a probe of this switch. Returns 0, or -1 when it is cut off
 * or something else. */
static __always_inline int frame_parse_probe(struct sxdp_probe *probe, const struct sxdp_frame *frame, const void *data,
					     const void *data_end)
{
	const __u8 *bytes = (const __u8 *)data + SXDP_ETH_HEADER_BYTES + (frame->tag_bytes ? SXDP_TAG_BYTES : 0);

	if (bytes + sizeof(*probe) > (const __u8 *)data_end)
		return -1;
	__builtin_memcpy(probe, bytes, sizeof(*probe));
	return probe->magic == SXDP_PROBE_MAGIC ? 0 : -1;
}

/* Makes a tag say this. */
static __always_inline int frame_write_tag(void *data, const void *data_end, __u16 tpid, __u16 tci)
{
	__u8 *bytes = data;

	if (bytes + SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES > (const __u8 *)data_end)
		return -1;
	bytes[12] = (__u8)(tpid >> 8);
	bytes[13] = (__u8)tpid;
	bytes[14] = (__u8)(tci >> 8);
	bytes[15] = (__u8)tci;
	return 0;
}

/* After the head moved by four bytes: moves the addresses up to the new start, and writes the tag. */
static __always_inline int frame_open_tag(void *data, const void *data_end, __u16 tpid, __u16 tci)
{
	__u8 *bytes = data;
	__u32 i;

	if (bytes + SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES > (const __u8 *)data_end)
		return -1;
#pragma unroll
	for (i = 0; i < 6; i++)
		((__u16 *)bytes)[i] = ((__u16 *)(bytes + SXDP_TAG_BYTES))[i];
	return frame_write_tag(data, data_end, tpid, tci);
}

/* Before the head moves by four bytes: slides the addresses over the tag. */
static __always_inline int frame_close_tag(void *data, const void *data_end)
{
	__u8 *bytes = data;
	int i;

	if (bytes + SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES > (const __u8 *)data_end)
		return -1;
#pragma unroll
	for (i = 5; i >= 0; i--)
		((__u16 *)(bytes + SXDP_TAG_BYTES))[i] = ((__u16 *)bytes)[i];
	return 0;
}

#endif
