/* SPDX-License-Identifier: GPL-2.0-only */
/* Floods by tc: a copy for each member of the VLAN, in a program of its own that calls itself for every SXDP_FLOOD_CHUNK receivers,
 * as one loop over all of them is too much for the verifier. First the receivers that take the frame as it is, then, with the
 * tag changed once, the others.
 *
 * What a flood knows is in skb->cb: it goes along from run to run, and a copy reads it from there, as what is kept in variables over
 * the loop multiplies the verifier's paths.
 */
#ifndef SXDP_CARRIER_FLOOD_H
#define SXDP_CARRIER_FLOOD_H

#include "carrier/tc.h"
#include "rules/guard.h"
#include "rules/loop.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/enter.h"
#include "switch/police.h"

enum flood_word {
	FLOOD_SLOT,
	FLOOD_VLAN,
	FLOOD_PROGRESS,
	FLOOD_NEXT,
	FLOOD_TARGET,                   /* of unicast: its addressee's slot; else that of the guest that it came back from; or SXDP_NOBODY */
};

enum flood_progress {
	FLOOD_IS_COPIED = 1 << 0,
	FLOOD_IS_MISMATCHED = 1 << 1,   /* a receiver wants the other tagging */
	FLOOD_IS_RETAGGED = 1 << 2,     /* second round */
	FLOOD_IS_TAGGED = 1 << 3,       /* the frame as it is now */
	FLOOD_IS_BROADCAST = 1 << 4,
	FLOOD_IS_UNASKED = 1 << 5,      /* a port would have got it, had its guest asked for the group */
	FLOOD_IS_UNICAST = 1 << 6,      /* for one station, and for the promiscuous ports of its VLAN */
	FLOOD_HAS_INNER = 1 << 7,       /* a tag of the guest's own, behind that of its VLAN */
};

/* Comes back only when the program is not there. */
static __always_inline sxdp_answer flood_from(carrier *ctx, __u32 next)
{
	ctx->cb[FLOOD_NEXT] = next;
	tail_call(ctx, tc_stages_handle(), SXDP_STAGE_FLOOD);
	return SXDP_MISSED_STAGE;
}

/* Of a group frame of a guest. The uplink's port has no guard, and is never cut. */
static __always_inline sxdp_answer carrier_guard(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	__u32 key = (__u32)transit->slot;
	struct sxdp_guard *guard = bpf_map_lookup_elem(guards_handle(), &key);
	sxdp_answer answer = loop_judge(port);
	struct sxdp_meter *meter;

	if (answer != SXDP_ADMITTED)
		return answer;
	if (!guard)
		return SXDP_STORM;
	meter = guard_meter(guard, transit->frame.destination);
	return meter->interval_ns ? guard_admit(meter, transit->frames, bpf_ktime_get_ns()) : SXDP_ADMITTED;
}

/* What a flood takes of its port's rate is one frame, however many copies there will be. */
static __always_inline sxdp_answer admit_flood(carrier *ctx, const struct sxdp_port *port, const struct transit *transit)
{
	sxdp_answer answer = carrier_guard(ctx, transit, port);

	return answer == SXDP_ADMITTED ? police(ctx, transit, port) : answer;
}

/* kind: bits of what is known of it already. */
static __always_inline sxdp_answer flood_as(carrier *ctx, const struct transit *transit, __u32 kind)
{
	if (transit->frame.tpid && !frame_names_vlan(&transit->frame) && bpf_skb_vlan_pop(ctx))
		return SXDP_REDIRECT_ERROR;
	ctx->cb[FLOOD_SLOT] = (__u32)transit->slot;
	ctx->cb[FLOOD_VLAN] = (__u32)transit->vlan;
	ctx->cb[FLOOD_PROGRESS] = (frame_names_vlan(&transit->frame) ? FLOOD_IS_TAGGED : 0) |
				  (frame_has_inner_tag(&transit->frame) ? FLOOD_HAS_INNER : 0) | kind;
	return flood_from(ctx, 0);
}

/* Whose a frame from the wire is, where that gives guests their own back: it gets no copy. */
static __always_inline __u64 sender_slot(const struct transit *transit, const struct sxdp_port *port)
{
	__u64 owner = transit->is_from_wire && port->flags & SXDP_PORT_VEPA ? source_owner(port, port, transit) : 0;

	return owner ? fdb_slot(owner) : SXDP_NOBODY;
}

static __always_inline sxdp_answer carrier_flood(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	sxdp_answer answer = transit->is_from_wire ? SXDP_ADMITTED : admit_flood(ctx, port, transit);

	if (answer != SXDP_ADMITTED)
		return answer;
	ctx->cb[FLOOD_TARGET] = (__u32)sender_slot(transit, port);
	return flood_as(ctx, transit, transit->frame.destination == SXDP_MAC_BROADCAST ? FLOOD_IS_BROADCAST : 0);
}

/* A frame for one station, where promiscuous ports get it too: a copy for each, and one for the addressee, which took it by all rules
 * already. */
static __always_inline sxdp_answer carrier_copy(carrier *ctx, const struct transit *transit, __u64 target_slot)
{
	ctx->cb[FLOOD_TARGET] = (__u32)target_slot;
	return flood_as(ctx, transit, FLOOD_IS_UNICAST);
}

/* Of the frame as it is now: tags that are not beside the bytes are in them. */
static __always_inline __u64 copy_payload_bytes(const carrier *ctx, __u32 progress)
{
	__u64 tags = (progress & FLOOD_IS_TAGGED ? 1 : 0) + (progress & FLOOD_HAS_INNER ? 1 : 0);

	return ctx->len - SXDP_ETH_HEADER_BYTES - (tags && ctx->vlan_present ? tags - 1 : tags) * SXDP_TAG_BYTES;
}

/* Read again for each copy that it matters to. */
static __always_inline __u64 flood_group(carrier *ctx)
{
	struct sxdp_frame frame;

	if (frame_parse(&frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return 0;
	return frame.destination;
}

/* Whether a port is among the receivers at all. Group frames are for all; the addressee of unicast was judged before. */
static __always_inline int copy_is_for(carrier *ctx, const struct sxdp_port *target, __u64 slot, __u32 progress)
{
	__u64 vlan = ctx->cb[FLOOD_VLAN] & SXDP_VLAN_WHOLE;

	if (progress & FLOOD_IS_UNICAST) {
		if (slot == ctx->cb[FLOOD_TARGET])
			return 1;
		if (!(target->flags & SXDP_PORT_PROMISCUOUS))
			return 0;
	} else if (slot == ctx->cb[FLOOD_TARGET]) {
		return 0;
	}
	return target_judge_copy(port_at(ctx->cb[FLOOD_SLOT]), target, heard_by(target, slot), vlan) == SXDP_ADMITTED &&
	       target_takes(target, carrier_longest_bytes(ctx, 0)) &&
	       target_device_takes(target, copy_payload_bytes(ctx, progress),
				   progress & FLOOD_HAS_INNER && vlan_leaves_tagged(target, vlan));
}

static __always_inline void copy_to(carrier *ctx, __u64 slot)
{
	struct sxdp_port *target = port_at(slot);
	__u64 vlan = ctx->cb[FLOOD_VLAN] & SXDP_VLAN_WHOLE;
	__u32 progress = ctx->cb[FLOOD_PROGRESS];
	struct sxdp_counters *counted;
	struct sxdp_cpu *here;
	__u64 frames;
	int has_failed;

	if (!target->ifindex || slot == ctx->cb[FLOOD_SLOT])
		return;
	if (!copy_is_for(ctx, target, slot, progress))
		return;
	if (!(progress & (FLOOD_IS_BROADCAST | FLOOD_IS_UNICAST)) && !hears_group(target, slot, flood_group(ctx))) {
		ctx->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_UNASKED;
		return;
	}
	if (vlan_leaves_tagged(target, vlan) != ((progress & FLOOD_IS_TAGGED) != 0)) {
		ctx->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_MISMATCHED;
		return;
	}
	has_failed = bpf_clone_redirect(ctx, target->ifindex, 0) != 0;
	ctx->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_COPIED;
	frames = skb_frames(ctx);
	here = this_cpu();
	if (!here)
		return;
	counted = count_egress(here, slot, frames, ctx->len);
	counted->egress_errors += has_failed ? frames : 0;
	if (!(progress & FLOOD_IS_UNICAST))
		count_copy(counted, frames, progress & FLOOD_IS_BROADCAST);
}

/* Returns where the next chunk starts. The empty asm keeps the compiler from proving the mask away, which the verifier
 * needs to see. */
static __always_inline __u32 copy_to_chunk(carrier *ctx, const struct sxdp_members *list, __u32 next)
{
	__u32 i;

	asm volatile("" : "+r"(next));
	next &= SXDP_MAX_MEMBERS - 1;
	for (i = 0; i < SXDP_FLOOD_CHUNK; i++) {
		if (next + i >= list->count)
			break;
		copy_to(ctx, list->slots[next + i]);
	}
	return next + SXDP_FLOOD_CHUNK;
}

static __always_inline struct sxdp_members *members_of(const struct sxdp_port *port, __u64 vlan)
{
	__u32 domain = (__u32)sxdp_domain(port->pf, vlan);

	return bpf_map_lookup_elem(members_handle(), &domain);
}

/* After the copies, of which the last may have been made without the tag by which the host's stack finds the VLAN's device. */
static __always_inline sxdp_answer hear_at_host(carrier *ctx, struct transit *transit)
{
	if (carrier_retag(ctx, transit, transit->vlan != SXDP_VLAN_NONE))
		return SXDP_REDIRECT_ERROR;
	transit->action = TC_PASS;
	return SXDP_FLOODED;
}

static __always_inline sxdp_answer flood_some(carrier *ctx, struct transit *transit, const struct sxdp_port *port, __u32 next)
{
	struct sxdp_members *list = members_of(port, transit->vlan);

	if (!list)
		list = members_of(port, SXDP_VLAN_TRUNKS | (transit->vlan & SXDP_VLAN_SERVICE));
	if (next == 0)
		copy_to(ctx, port->pf);
	if (list && next < SXDP_MAX_MEMBERS) {
		next = copy_to_chunk(ctx, list, next);
		if (next < list->count && next < SXDP_MAX_MEMBERS)
			return flood_from(ctx, next);
	}
	if ((ctx->cb[FLOOD_PROGRESS] & (FLOOD_IS_MISMATCHED | FLOOD_IS_RETAGGED)) == FLOOD_IS_MISMATCHED) {
		if (carrier_retag(ctx, transit, transit->frame.tpid == 0))
			return SXDP_REDIRECT_ERROR;
		ctx->cb[FLOOD_PROGRESS] = (ctx->cb[FLOOD_PROGRESS] | FLOOD_IS_RETAGGED) ^ FLOOD_IS_TAGGED;
		return flood_from(ctx, 0);
	}
	if (ctx->cb[FLOOD_PROGRESS] & FLOOD_IS_UNICAST && ctx->cb[FLOOD_TARGET] != SXDP_NOBODY)
		return SXDP_FORWARDED;
	if (!(ctx->cb[FLOOD_PROGRESS] & FLOOD_IS_UNICAST) && vlan_host_hears(port, host_vlans_of(port, transit->slot), transit->vlan))
		return hear_at_host(ctx, transit);
	if (ctx->cb[FLOOD_PROGRESS] & FLOOD_IS_COPIED)
		return SXDP_FLOODED;
	return ctx->cb[FLOOD_PROGRESS] & FLOOD_IS_UNASKED ? SXDP_NOT_SUBSCRIBED : SXDP_NO_TARGET;
}

/* What it must know of the frame is in skb->cb; the bytes were looked at before. */
static __always_inline int flood(carrier *ctx)
{
	struct transit transit = { .frames = skb_frames(ctx), .action = TC_DROP };
	__u32 progress = ctx->cb[FLOOD_PROGRESS];
	struct sxdp_cpu *here;
	sxdp_answer answer;

	transit.slot = ctx->cb[FLOOD_SLOT] & SXDP_SLOT_MASK;
	transit.vlan = ctx->cb[FLOOD_VLAN] & SXDP_VLAN_WHOLE;
	transit.frame.tpid = progress & FLOOD_IS_TAGGED;
	transit.frame.tci = progress & FLOOD_IS_TAGGED ? transit.vlan & SXDP_VLAN_MASK : 0;
	transit.frame.length_bytes = ctx->len;
	transit.is_sampled = sample_is_under_way(port_at(transit.slot));
	answer = flood_some(ctx, &transit, port_at(transit.slot), ctx->cb[FLOOD_NEXT]);
	here = this_cpu();
	if (answer == SXDP_FLOODED && here && !(progress & FLOOD_IS_UNICAST))
		count_group(here, &transit, progress & FLOOD_IS_BROADCAST);
	if (transit.is_sampled && progress & FLOOD_IS_UNICAST)
		sample_close(&transit, ctx->cb[FLOOD_TARGET], answer);
	return carrier_finish(&transit, answer);
}

#endif
