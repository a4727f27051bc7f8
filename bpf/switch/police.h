/* SPDX-License-Identifier: GPL-2.0-only */
/* A port that is policed: a frame that passed all other rules takes its part of the port's rate, once, in the program that finishes
 * it. Behind a carrier's header. */
#ifndef SXDP_POLICE_H
#define SXDP_POLICE_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/rate.h"
#include "switch/handles.h"
#include "switch/helpers.h"
#include "switch/transit.h"

static __always_inline sxdp_answer police(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	__u32 key = (__u32)transit->slot;
	struct sxdp_rate *rate;

	if (!(port->flags & SXDP_PORT_POLICED))
		return SXDP_ADMITTED;
	rate = bpf_map_lookup_elem(rates_handle(), &key);
	return rate ? rate_admit(rate, carrier_wire_bytes(ctx, transit), bpf_ktime_get_ns()) : SXDP_RATE_LIMITED;
}

#endif
