/* SPDX-License-Identifier: GPL-2.0-only */
/* The exits for unicast: may it leave there, fits, rate, retag, send, count. Behind a carrier's header. */
#ifndef SXDP_LEAVE_H
#define SXDP_LEAVE_H

#include "rules/answer.h"
#include "rules/loop.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/count.h"
#include "switch/lookup.h"
#include "switch/police.h"
#include "switch/sample_entry.h"
#include "switch/transit.h"

static __always_inline sxdp_answer leave_by(carrier *ctx, struct transit *transit, const struct route *route)
{
	struct sxdp_trunk *trunk = heard_by(route->target, route->slot);
	const struct sxdp_port *port = port_at(transit->slot);
	int tagged = vlan_leaves_tagged(route->target, transit->vlan);
	sxdp_answer answer = target_judge(port, route->target, trunk, transit->vlan);

	if (answer != SXDP_ADMITTED)
		return answer;
	if (!target_takes(route->target, carrier_longest_bytes(ctx, transit)))
		return SXDP_OVERSIZE;
	if (!carrier_fits_device(ctx, transit, route->target, tagged && frame_has_inner_tag(&transit->frame)))
		return SXDP_OVERSIZE;
	if (!carrier_reaches(route->target) || !carrier_copies(port))
		return SXDP_DEFERRED;
	answer = police(ctx, transit, port);
	if (answer != SXDP_ADMITTED)
		return answer;
	if (port->flags & SXDP_PORT_COPIED && !loop_is_cut(port))
		return carrier_copy(ctx, transit, route->slot);
	if (carrier_retag(ctx, transit, tagged))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	return carrier_send(ctx, transit, route->target) ? SXDP_REDIRECT_ERROR : count_forwarded(transit);
}

static __always_inline sxdp_answer leave(carrier *ctx, struct transit *transit, const struct route *route)
{
	sxdp_answer answer;

	sample_where_it_leaves(ctx, transit, route->target);
	answer = leave_by(ctx, transit, route);
	if (transit->is_sampled)
		sample_close(transit, route->slot, answer);
	return answer;
}

/* For nobody, but for the promiscuous ports of its VLAN. */
static __always_inline sxdp_answer leave_to_listeners(carrier *ctx, struct transit *transit, const struct sxdp_port *port)
{
	sxdp_answer answer;

	if (!carrier_copies(port))
		return SXDP_DEFERRED;
	if (loop_is_cut(port))
		return SXDP_NO_TARGET;
	sample_copies(ctx, transit, port);
	answer = police(ctx, transit, port);
	return answer == SXDP_ADMITTED ? carrier_copy(ctx, transit, SXDP_NOBODY) : answer;
}

#endif
