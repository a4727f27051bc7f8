/* SPDX-License-Identifier: GPL-2.0-only */
/* The storm guard: how many broadcast and multicast frames of a guest enter in a second. Each is copied to a whole VLAN, so a
 * guest that sends many takes everybody's time. Unicast never comes here.
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A) in its form with a virtual time: each frame moves the time at which the
 * next one is due by its share of a second, and a frame that comes before the due time is one too many. The due time is never
 * further back than SXDP_GUARD_BURST_NS, which is the burst that a port may send after a rest.
 *
 * CPUs that take frames of one port at the same time may overwrite each other's step, and so let a few frames more in. That is
 * good enough for a guard, and cheaper than an atomic operation.
 */
#ifndef SXDP_GUARD_H
#define SXDP_GUARD_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

static __always_inline struct sxdp_meter *guard_meter(struct sxdp_guard *guard, __u64 destination)
{
	return destination == SXDP_MAC_BROADCAST ? &guard->broadcast : &guard->multicast;
}

/* frames: segments of a super-frame, which enter together or not at all. Only for a meter with an interval. */
static __always_inline sxdp_answer guard_admit(struct sxdp_meter *meter, __u64 frames, __u64 now_ns)
{
	__u64 due_ns = meter->due_ns;

	if (due_ns + SXDP_GUARD_BURST_NS < now_ns)
		due_ns = now_ns - SXDP_GUARD_BURST_NS;
	if (due_ns > now_ns)
		return SXDP_STORM;
	meter->due_ns = due_ns + frames * meter->interval_ns;
	return SXDP_ADMITTED;
}

#endif
