/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames as tc sees them: skbs, perhaps super-frames, with a tag in band or beside the bytes. tc finishes everything. carrier/xdp.h
 * has the same names for xdp_buffs. */
#ifndef SXDP_CARRIER_H
#define SXDP_CARRIER_H

#include "abi/types.h"
#include "rules/admit.h"
#include "rules/answer.h"
#include "rules/frame.h"
#include "rules/target.h"
#include "switch/count.h"
#include "switch/handles.h"
#include "switch/helpers.h"
#include "switch/lookup.h"
#include "switch/sample.h"
#include "switch/transit.h"

enum tc_action {
	TC_PASS = -1,               /* TCX_NEXT, TC_ACT_UNSPEC: whoever follows on the device, then the stack */
	TC_DROP = 2,
	TC_REDIRECT = 7,
};

enum tc_segment {
	TC_MOST_HEADER_BYTES = 192, /* Ethernet, a tag, IPv6 with some extensions, TCP with all options */
};

typedef struct __sk_buff carrier;

/* A super-frame that a guest's program redirects here was not looked at by the stack, which would have counted its segments. Its
 * headers are taken for payload, so it may count for one more than it will be. */
static __always_inline __u64 skb_frames(const carrier *ctx)
{
	if (ctx->gso_segs)
		return ctx->gso_segs;
	return ctx->gso_size ? (ctx->len + ctx->gso_size - 1) / ctx->gso_size : 1;
}

/* A guest's program that redirects a frame here (bpf_redirect_peer) passes by the places where the kernel reads its type and forgets what
 * belongs to the sender's host. What the kernel believes decides what it does with tags and who hears the frame, so one whose bytes
 * say otherwise is malformed. */
static __always_inline int carrier_type_agrees(const carrier *ctx, __u64 type)
{
	return frame_type_agrees(type, __builtin_bswap16((__u16)ctx->protocol));
}

/* What a guest must not say to other hosts' firewalls, queues and clocks; veth forgets it of what takes the ordinary way. */
static __always_inline void carrier_forget_sender(carrier *ctx)
{
	ctx->mark = 0;
	ctx->priority = 0;
	ctx->tc_index = 0;
	ctx->tstamp = 0;
}

static __always_inline int carrier_is_crumbs(const carrier *ctx)
{
	return ctx->gso_size && frame_is_crumbs(ctx->len, ctx->gso_size);
}

/* A tag that the device took off stands beside the bytes. Returns 0, or -1 when a header is cut off or is not what the kernel takes
 * it for. */
static __always_inline int carrier_parse(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	__u32 needed = SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES;
	struct sxdp_frame *frame = &transit->frame;

	if ((void *)(long)ctx->data + needed > (void *)(long)ctx->data_end && ctx->len >= needed && bpf_skb_pull_data(ctx, needed))
		return -1;
	if (frame_parse(frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end) || !carrier_type_agrees(ctx, frame->type))
		return -1;
	frame->length_bytes = ctx->len;
	transit->frames = skb_frames(ctx);
	if (ctx->vlan_present) {
		frame->tpid = __builtin_bswap16((__u16)ctx->vlan_proto);
		frame->tci = ctx->vlan_tci;
	} else if (frame_is_tag(frame->type) && frame_parse_tag(frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end)) {
		return -1;
	}
	if (frame->tpid && frame_has_inner_tag(frame))
		frame->tag_bytes += SXDP_TAG_BYTES;
	return 0;
}

/* What a sample keeps: the frame as it is, super-frames whole, and a tag beside it. */
static __always_inline __u32 carrier_whole_bytes(carrier *ctx)
{
	return ctx->len;
}

static __always_inline __u16 carrier_tpid_beside(const carrier *ctx)
{
	return ctx->vlan_present ? __builtin_bswap16((__u16)ctx->vlan_proto) : 0;
}

static __always_inline __u16 carrier_tci_beside(const carrier *ctx)
{
	return (__u16)ctx->vlan_tci;
}

/* Returns how many bytes it kept. */
static __always_inline __u32 carrier_keep(carrier *ctx, __u8 *bytes, __u32 length_bytes)
{
	__u32 part_bytes = sample_part(length_bytes);

	return bpf_skb_load_bytes(ctx, 0, bytes, part_bytes) ? 0 : part_bytes;
}

/* The kernel's measure of a segment counts a header that IPv6 puts in front of more than 64 KB (BIG TCP) and that segmentation takes
 * out again: such a super-frame is measured here. Asked for when the kernel says that it is too long. */
static __always_inline int big_segments_fit(carrier *ctx, const struct sxdp_port *port, const struct transit *transit)
{
	__u32 offset = SXDP_ETH_HEADER_BYTES + (__u32)transit->frame.tag_bytes;
	struct sxdp_big_header header;

	if (ctx->len <= SXDP_IPV6_MOST_BYTES || transit->frame.type != SXDP_ETH_IPV6 ||
	    bpf_skb_load_bytes(ctx, offset, &header, sizeof(header)))
		return 0;
	return frame_is_big(&header) && frame_big_segment_bytes(&header, ctx->gso_size) <= port->mtu_bytes;
}

/* A super-frame is as long as its segments; the kernel knows how to measure them against a device's MTU. */
static __always_inline int carrier_length_fits(carrier *ctx, const struct sxdp_port *port, const struct transit *transit)
{
	__u32 device = port->flags & SXDP_PORT_SHAPED ? port->ifindex : 0;  /* 0: that it came in by, which is a hop then */
	__u32 mtu_bytes = 0;

	if (!ctx->gso_size)
		return admit_length_fits(port, &transit->frame);
	return !bpf_check_mtu(ctx, device, &mtu_bytes, 0, BPF_MTU_CHK_SEGS) || big_segments_fit(ctx, port, transit);
}

/* Of what leaves: a super-frame becomes segments, whose headers are shorter than this. */
static __always_inline __u64 carrier_longest_bytes(const carrier *ctx, const struct transit *transit)
{
	return ctx->gso_size ? ctx->gso_size + TC_MOST_HEADER_BYTES : ctx->len;
}

/* Of TCP over IPv6 with more than 64 KB, whose jumbo option segmentation takes out. 0 for anything else with options. */
static __always_inline __u64 big_wire_bytes(carrier *ctx, __u32 offset)
{
	struct sxdp_big_header header;

	if (ctx->len <= SXDP_IPV6_MOST_BYTES || bpf_skb_load_bytes(ctx, offset, &header, sizeof(header)) || !frame_is_big(&header))
		return 0;
	return frame_wire_bytes(ctx->len, offset + frame_big_segment_bytes(&header, 0), ctx->gso_size);
}

/* Of TCP. */
static __always_inline __u64 tcp_wire_bytes(carrier *ctx, __u32 offset)
{
	__u8 words = 0;

	bpf_skb_load_bytes(ctx, offset + SXDP_TCP_WORDS_OFFSET, &words, sizeof(words));
	return frame_wire_bytes(ctx->len, offset + (words >> 4) * 4, ctx->gso_size);
}

/* Of UDP; 0 for what is not cut up behind the UDP header, as what a tunnel carries, where the kernel's count of segments tells it. */
static __always_inline __u64 udp_wire_bytes(carrier *ctx, __u32 offset)
{
	__u64 header_bytes = offset + SXDP_UDP_HEADER_BYTES;

	if (frame_segments(ctx->len, header_bytes, ctx->gso_size) != ctx->gso_segs)
		return 0;
	return frame_wire_bytes(ctx->len, header_bytes, ctx->gso_size);
}

/* A super-frame becomes frames that each have its headers. Only for one with a gso_size. */
static __always_inline __u64 segments_bytes(carrier *ctx, __u32 offset)
{
	struct sxdp_network network = {};
	__u32 transport;

	bpf_skb_load_bytes(ctx, offset, &network, sizeof(network));
	transport = offset + (__u32)frame_network_bytes(&network);
	switch (frame_protocol(&network)) {
	case SXDP_NEXT_IS_TCP:
		return tcp_wire_bytes(ctx, transport);
	case SXDP_NEXT_IS_UDP:
		return udp_wire_bytes(ctx, transport);
	default:
		return frame_is_ipv6(&network) ? big_wire_bytes(ctx, offset) : 0;
	}
}

static __always_inline __u64 carrier_wire_bytes(carrier *ctx, const struct transit *transit)
{
	__u32 offset = SXDP_ETH_HEADER_BYTES + (__u32)transit->frame.tag_bytes;
	__u64 bytes = ctx->gso_size ? segments_bytes(ctx, offset) : ctx->len;

	return bytes ? bytes : frame_most_wire_bytes(ctx->len, ctx->gso_size, port_at(transit->slot)->mtu_bytes);
}

static __always_inline int carrier_fits_device(carrier *ctx, const struct transit *transit, const struct sxdp_port *target,
					       int has_two_tags)
{
	__u32 mtu_bytes = 0;

	if (!ctx->gso_size)
		return target_device_takes(target, frame_payload_bytes(&transit->frame), has_two_tags);
	return !(target->flags & SXDP_PORT_NARROW) ||
	       !bpf_check_mtu(ctx, target->ifindex, &mtu_bytes, 0, BPF_MTU_CHK_SEGS);
}

/* Makes the frame's tag what the target wants. A tag that stays keeps its priority bits; a priority tag is as none. Returns 0 when
 * that worked. */
static __always_inline int carrier_retag(carrier *ctx, const struct transit *transit, int tagged)
{
	if (tagged && frame_names_vlan(&transit->frame))
		return 0;
	if (transit->frame.tpid && bpf_skb_vlan_pop(ctx))
		return -1;
	if (!tagged)
		return 0;
	return bpf_skb_vlan_push(ctx, __builtin_bswap16(frame_tpid_of(transit->vlan)), tci_given(transit));
}

static __always_inline int carrier_reaches(const struct sxdp_port *target)
{
	return 1;
}

/* Returns 0 when the frame is on its way. To a target seen without carrier a copy goes, as its failure is told. */
static __always_inline int carrier_send(carrier *ctx, struct transit *transit, const struct sxdp_port *target)
{
	if (target->flags & SXDP_PORT_NO_CARRIER)
		return bpf_clone_redirect(ctx, target->ifindex, 0) != 0;
	if (target->flags & SXDP_PORT_PEER)
		transit->action = bpf_redirect_peer(target->ifindex, 0);
	else
		transit->action = bpf_redirect(target->ifindex, 0);
	if (transit->action == TC_REDIRECT)
		return 0;
	transit->action = TC_DROP;
	return -1;
}

static __always_inline int carrier_copies(const struct sxdp_port *port)
{
	return 1;
}

/* Into the device whose queue holds the port's guest to its rate. It is counted when it comes out. */
static __always_inline sxdp_answer carrier_queue(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	transit->action = bpf_redirect(port->hop_ifindex, 0);
	if (transit->action == TC_REDIRECT)
		return SXDP_COUNTED;
	transit->action = TC_DROP;
	return SXDP_REDIRECT_ERROR;
}

/* By which the flow cache tells what tc sent from what XDP did, which does not reach everybody. */
static __always_inline __u64 carrier_flow_ingress(const struct transit *transit)
{
	return transit->ingress | 1ULL << 31;
}

static __always_inline __u64 carrier_first_bytes(const carrier *ctx)
{
	return ctx->len;
}

static __always_inline int carrier_send_plain(carrier *ctx, struct transit *transit)
{
	return carrier_send(ctx, transit, port_at(transit->target_slot));
}

/* Notes it for the daemon. What has the form of a probe but is none is dropped as well, without a note. */
static __always_inline sxdp_answer carrier_take_probe(carrier *ctx, const struct transit *transit)
{
	__u32 needed = SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES + sizeof(struct sxdp_probe);
	__u32 key = (__u32)transit->slot;
	struct sxdp_return *noted = bpf_map_lookup_elem(loops_handle(), &key);
	struct sxdp_probe probe;

	if (!noted || ctx->len < needed)
		return SXDP_LOOP;
	if ((void *)(long)ctx->data + needed > (void *)(long)ctx->data_end && bpf_skb_pull_data(ctx, needed))
		return SXDP_LOOP;
	if (frame_parse_probe(&probe, &transit->frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return SXDP_LOOP;
	noted->nonce = probe.nonce;
	noted->sender = probe.sender;
	noted->vlan = probe.vlan;
	noted->time_ns = bpf_ktime_get_ns();
	return SXDP_LOOP;
}

static __always_inline sxdp_answer carrier_pass_to_host(struct transit *transit)
{
	transit->action = TC_PASS;
	return SXDP_TO_HOST;
}

/* The one exit. */
static __always_inline int carrier_finish(const struct transit *transit, sxdp_answer answer)
{
	if (answer != SXDP_COUNTED) {
		sample_at_exit(transit, answer);
		count_finished(transit, answer);
	}
	return transit->action;
}

#endif
