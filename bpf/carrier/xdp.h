/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames as XDP sees them: xdp_buffs of one buffer or several, tags in band, redirected by devmap. What XDP cannot finish alone it
 * leaves to the tc program on the same device (SXDP_DEFERRED). carrier/tc.h has the same names for skbs. */
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

typedef struct xdp_md carrier;

/* All of the frame, unless it has several buffers. */
static __always_inline __u64 carrier_first_bytes(const carrier *ctx)
{
	return (void *)(long)ctx->data_end - (void *)(long)ctx->data;
}

/* There is nothing but the bytes. */
static __always_inline int carrier_type_agrees(const carrier *ctx, __u64 type)
{
	return 1;
}

/* There are no super-frames here. */
static __always_inline int carrier_is_crumbs(const carrier *ctx)
{
	return 0;
}

/* Returns 0, or -1 when a header is cut off. */
static __always_inline int carrier_parse(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	const void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct sxdp_frame *frame = &transit->frame;

	if (frame_parse(frame, data, data_end) || (frame_is_tag(frame->type) && frame_parse_tag(frame, data, data_end)))
		return -1;
	if (frame->tpid && frame_has_inner_tag(frame))
		frame->tag_bytes += SXDP_TAG_BYTES;
	frame->length_bytes = port->flags & SXDP_PORT_JUMBO ? bpf_xdp_get_buff_len(ctx) : carrier_first_bytes(ctx);
	return 0;
}

/* What a sample keeps: the frame as it is in the buffer; there is nothing beside it. */
static __always_inline __u32 carrier_whole_bytes(carrier *ctx)
{
	return (__u32)bpf_xdp_get_buff_len(ctx);
}

static __always_inline __u16 carrier_tpid_beside(const carrier *ctx)
{
	return 0;
}

static __always_inline __u16 carrier_tci_beside(const carrier *ctx)
{
	return 0;
}

/* Returns how many bytes it kept. */
static __always_inline __u32 carrier_keep(carrier *ctx, __u8 *bytes, __u32 length_bytes)
{
	__u32 part_bytes = sample_part(length_bytes);

	return xdp_load_bytes(ctx, 0, bytes, part_bytes) ? 0 : part_bytes;
}

static __always_inline int carrier_length_fits(carrier *ctx, const struct sxdp_port *port, const struct transit *transit)
{
	return admit_length_fits(port, &transit->frame);
}

static __always_inline __u64 carrier_longest_bytes(const carrier *ctx, const struct transit *transit)
{
	return transit->frame.length_bytes;
}

static __always_inline __u64 carrier_wire_bytes(carrier *ctx, const struct transit *transit)
{
	return transit->frame.length_bytes;
}

static __always_inline int carrier_fits_device(carrier *ctx, const struct transit *transit, const struct sxdp_port *target,
					       int has_two_tags)
{
	return target_device_takes(target, frame_payload_bytes(&transit->frame), has_two_tags);
}

static __always_inline int carrier_remove_tag(carrier *ctx)
{
	if (frame_close_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return -1;
	return bpf_xdp_adjust_head(ctx, SXDP_TAG_BYTES);
}

/* Makes the frame's tag what the target wants. A tag that stays keeps its priority bits; a priority tag is as none. Returns 0 when
 * that worked. */
static __always_inline int carrier_retag(carrier *ctx, const struct transit *transit, int tagged)
{
	if (!tagged)
		return transit->frame.tpid ? carrier_remove_tag(ctx) : 0;
	if (frame_names_vlan(&transit->frame))
		return 0;
	if (transit->frame.tpid)
		return frame_write_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end, frame_tpid_of(transit->vlan),
				       tci_given(transit));
	if (bpf_xdp_adjust_head(ctx, -SXDP_TAG_BYTES))
		return -1;
	return frame_open_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end, frame_tpid_of(transit->vlan),
			      tci_given(transit));
}

/* An uplink whose driver runs no XDP takes no redirects, and redirects pass by a device's queue. */
static __always_inline int carrier_reaches(const struct sxdp_port *target)
{
	if (target->flags & SXDP_PORT_QUEUED)
		return 0;
	return (target->flags & (SXDP_PORT_UPLINK | SXDP_PORT_NATIVE_XDP)) != SXDP_PORT_UPLINK;
}

/* To target_slot; returns 0 when the frame is on its way. */
static __always_inline int carrier_send_plain(carrier *ctx, const struct transit *transit)
{
	return bpf_redirect_map(devices_handle(), (__u32)transit->target_slot, XDP_DROP) != XDP_REDIRECT;
}

static __always_inline int carrier_send(carrier *ctx, const struct transit *transit, const struct sxdp_port *target)
{
	return carrier_send_plain(ctx, transit);
}

/* Copies of unicast are tc's. */
static __always_inline int carrier_copies(const struct sxdp_port *port)
{
	return !(port->flags & SXDP_PORT_COPIED);
}

static __always_inline sxdp_answer carrier_copy(carrier *ctx, const struct transit *transit, __u64 target_slot)
{
	return SXDP_DEFERRED;
}

/* Queues are tc's. */
static __always_inline sxdp_answer carrier_queue(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	return SXDP_DEFERRED;
}

/* By which the flow cache tells what XDP sent from what tc did. */
static __always_inline __u64 carrier_flow_ingress(const struct transit *transit)
{
	return transit->ingress;
}

/* tc notes it. */
static __always_inline sxdp_answer carrier_take_probe(carrier *ctx, const struct transit *transit)
{
	return SXDP_DEFERRED;
}

/* tc hands it over. */
static __always_inline sxdp_answer carrier_pass_to_host(const struct transit *transit)
{
	return SXDP_DEFERRED;
}

/* To another program, with what it must know. Comes back only when that is not there. */
static __always_inline void carrier_jump(carrier *ctx, const struct transit *transit, __u32 stage)
{
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return;
	here->handed_slot = (__u32)transit->slot;
	here->handed_vlan = (__u32)transit->vlan;
	tail_call(ctx, xdp_stages_handle(), stage);
}

/* The one exit. */
static __always_inline int carrier_finish(const struct transit *transit, sxdp_answer answer)
{
	if (answer == SXDP_COUNTED)
		return XDP_REDIRECT;
	sample_at_exit(transit, answer);
	if (answer == SXDP_DEFERRED)
		return XDP_PASS;
	count_finished(transit, answer);
	return XDP_DROP;
}

#endif
