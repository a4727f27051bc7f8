/* SPDX-License-Identifier: GPL-2.0-only */
/* The one exit for unicast: fits, retag, send, count. Behind a carrier's header. */
#ifndef SXDP_LEAVE_H
#define SXDP_LEAVE_H

#include "rules/answer.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/count.h"
#include "switch/transit.h"

static __always_inline sxdp_answer leave(carrier *ctx, struct transit *transit, const struct route *route)
{
	if (!target_takes(route->target, carrier_longest_bytes(ctx, transit)))
		return SXDP_OVERSIZE;
	if (!carrier_reaches(route->target))
		return SXDP_DEFERRED;
	if (carrier_retag(ctx, transit, vlan_leaves_tagged(route->target, transit->vlan)))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	return carrier_send(ctx, transit, route->target) ? SXDP_REDIRECT_ERROR : count_forwarded(transit);
}

#endif
