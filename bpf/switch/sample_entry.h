/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a frame is seen that somebody watches (sample.h). Behind a carrier's header. */
#ifndef SXDP_SAMPLE_ENTRY_H
#define SXDP_SAMPLE_ENTRY_H

#include "abi/types.h"
#include "switch/helpers.h"
#include "switch/lookup.h"
#include "switch/sample.h"
#include "switch/transit.h"

static __always_inline void sample_open(carrier *ctx, struct transit *transit)
{
	struct sxdp_samples *here = samples_here();
	struct sxdp_sample *sample;

	if (!here)
		return;
	sample = sample_next(here);
	sample->time_ns = bpf_ktime_get_ns();
	sample->slot = (__u32)transit->slot;
	sample->tpid = carrier_tpid_beside(ctx);
	sample->tci = carrier_tci_beside(ctx);
	sample->length_bytes = carrier_whole_bytes(ctx);
	sample->kept_bytes = carrier_keep(ctx, sample->bytes, sample->length_bytes);
	here->is_open = 1;
	transit->is_sampled = 1;
}

/* Where the frame enters. */
static __always_inline void sample_at_entry(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	if (sample_is_wanted(port))
		sample_open(ctx, transit);
}

/* A frame of which others may get copies, whom somebody watches perhaps. */
static __always_inline void sample_copies(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	if (!transit->is_sampled && port_at(port->pf)->of_pf & SXDP_PF_IS_WATCHED)
		sample_open(ctx, transit);
}

/* A frame for one station. */
static __always_inline void sample_where_it_leaves(carrier *ctx, struct transit *transit, const struct sxdp_port *target)
{
	const struct sxdp_port *port = port_at(transit->slot);

	if (!transit->is_sampled && sample_is_wanted(target))
		sample_open(ctx, transit);
	if (port->flags & SXDP_PORT_COPIED)
		sample_copies(ctx, transit, port);
}

#endif
