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

#endif
