/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of ports that somebody watches: kept as they came, with what became of them. A sample is opened where a frame is seen first,
 * (sample_entry.h), and closed by the program that finishes it, on the same CPU. */
#ifndef SXDP_SAMPLE_H
#define SXDP_SAMPLE_H

#include "abi/types.h"
#include "rules/answer.h"
#include "switch/handles.h"
#include "switch/helpers.h"
#include "switch/lookup.h"
#include "switch/transit.h"

static __always_inline int sample_is_wanted(const struct sxdp_port *port)
{
	return (port->flags & SXDP_PORT_WATCHED) != 0;
}

/* How much of a frame is kept: one byte at least, as Linux 6.1 takes no less. The empty asm keeps the compiler from
 * proving the mask away, which the verifier needs to see. */
static __always_inline __u32 sample_part(__u32 length_bytes)
{
	__u32 last = (length_bytes < SXDP_SAMPLE_BYTES ? length_bytes : SXDP_SAMPLE_BYTES) - 1;

	asm volatile("" : "+r"(last));
	return (last & (SXDP_SAMPLE_BYTES - 1)) + 1;
}

static __always_inline struct sxdp_samples *samples_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(samples_handle(), &cpu);
}

static __always_inline struct sxdp_sample *sample_next(struct sxdp_samples *here)
{
	return &here->at[here->written & (SXDP_SAMPLES - 1)];
}

/* One that is left to another program is seen there again, from its start. */
static __always_inline void sample_close(const struct transit *transit, __u64 target_slot, sxdp_answer answer)
{
	struct sxdp_samples *here = samples_here();
	struct sxdp_sample *sample;

	if (!here || !here->is_open)
		return;
	here->is_open = 0;
	if (answer == SXDP_DEFERRED)
		return;
	sample = sample_next(here);
	sample->target_slot = (__u32)target_slot;
	sample->verdict = (__u16)(answer == SXDP_COUNTED ? SXDP_FORWARDED : answer);
	sample->vlan = (__u16)((transit->vlan & SXDP_VLAN_MASK) | (transit->vlan & SXDP_VLAN_SERVICE ? SXDP_SAMPLE_SERVICE : 0));
	here->written++;
}

/* Of a frame that the program finishes, but for one that left, which leave() tells of. */
static __always_inline void sample_at_exit(const struct transit *transit, sxdp_answer answer)
{
	if (transit->is_sampled)
		sample_close(transit, SXDP_NOBODY, answer);
}

/* Of a flood, which a program of its own finishes: whether it was sampled before. */
static __always_inline int sample_is_under_way(const struct sxdp_port *port)
{
	return sample_is_wanted(port) || port_at(port->pf)->of_pf & SXDP_PF_IS_WATCHED;
}

#endif
