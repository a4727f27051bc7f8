/* SPDX-License-Identifier: GPL-2.0-only */
/* One frame's way through the switch, in registers. */
#ifndef SXDP_TRANSIT_H
#define SXDP_TRANSIT_H

#include "abi/types.h"
#include "rules/frame.h"

struct transit {
	struct sxdp_frame frame;
	__u64 slot;                 /* where it entered */
	int is_from_wire;           /* most programs know it, so that a guest's frame meets no rule of the wire's in their bytecode */
	__u64 ingress;              /* the same as slot, as an ifindex */
	__u64 target_slot;
	__u64 frames;               /* segments of a super-frame, else 1 */
	__u64 vlan;
	int action;                 /* tc: the kernel's word for what became of it */
	int is_sampled;             /* somebody watches it, so what becomes of it is noted (sample.h) */
};

/* Where it goes. */
struct route {
	struct sxdp_port *target;
	__u64 slot;
};

/* The same value, of which the verifier knows nothing any more. unknown: any that it knows nothing of. */
static __always_inline __u64 transit_unknown(__u64 value, __u64 unknown)
{
	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(value) : "r"(unknown));
	return value;
}

/* Costs two instructions a value, and does nothing else: the verifier keeps apart whatever values the ways through parser and rules can
 * have left here, and would follow each of them to each exit. tc_vf was 616,000 instructions to it so, of a million that it
 * looks at, and is 61,000. */
static __always_inline void transit_merge_ways(struct transit *transit)
{
	struct sxdp_frame *frame = &transit->frame;

	frame->type = transit_unknown(frame->type, transit->ingress);
	frame->tpid = transit_unknown(frame->tpid, transit->ingress);
	frame->tag_bytes = transit_unknown(frame->tag_bytes, transit->ingress);
	transit->is_sampled = (int)transit_unknown((__u64)transit->is_sampled, transit->ingress);
}

#endif
