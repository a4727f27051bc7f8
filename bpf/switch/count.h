/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters: each frame once, by port and verdict, on the CPU that finished it. */
#ifndef SXDP_COUNT_H
#define SXDP_COUNT_H

#include "abi/types.h"
#include "rules/answer.h"
#include "switch/handles.h"
#include "switch/helpers.h"
#include "switch/transit.h"

/* Softirq context: no other program writes what this CPU counts, so there is no need of atomic operations. */
static __always_inline struct sxdp_cpu *this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(cpus_handle(), &cpu);
}

static __always_inline struct sxdp_counters *counters_of(struct sxdp_cpu *here, __u64 slot)
{
	return &here->of[slot & SXDP_SLOT_MASK];
}

static __always_inline struct sxdp_counters *count_egress(struct sxdp_cpu *here, __u64 slot, __u64 frames, __u64 bytes)
{
	struct sxdp_counters *counted = counters_of(here, slot);

	counted->egress_frames += frames;
	counted->egress_bytes += bytes;
	return counted;
}

static __always_inline void count_verdict(struct sxdp_cpu *here, const struct transit *transit, __u64 verdict)
{
	struct sxdp_counters *counted = counters_of(here, transit->slot);

	counted->verdict[verdict & (SXDP_VERDICTS - 1)] += transit->frames;
	if (verdict <= SXDP_FLOODED)
		counted->ingress_bytes += transit->frame.length_bytes;
}

static __always_inline void count_group(struct sxdp_cpu *here, const struct transit *transit, int is_broadcast)
{
	struct sxdp_counters *counted = counters_of(here, transit->slot);

	*(is_broadcast ? &counted->ingress_broadcast : &counted->ingress_multicast) += transit->frames;
}

/* Of a group frame that left by one port, for the wire to flood. */
static __always_inline void count_group_for_wire(const struct transit *transit)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		count_group(here, transit, transit->frame.destination == SXDP_MAC_BROADCAST);
}

static __always_inline void count_copy(struct sxdp_counters *counted, __u64 frames, int is_broadcast)
{
	*(is_broadcast ? &counted->egress_broadcast : &counted->egress_multicast) += frames;
}

static __always_inline void count_forwarded_here(struct sxdp_cpu *here, const struct transit *transit)
{
	count_verdict(here, transit, SXDP_FORWARDED);
	count_egress(here, transit->target_slot, transit->frames, transit->frame.length_bytes);
}

/* A frame that left by its target. Counted here, not at the program's exit, which so needs to know nothing but a verdict. */
static __always_inline sxdp_answer count_forwarded(const struct transit *transit)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		count_forwarded_here(here, transit);
	return SXDP_COUNTED;
}

static __always_inline void count_finished(const struct transit *transit, __u64 verdict)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		count_verdict(here, transit, verdict);
}

#endif
