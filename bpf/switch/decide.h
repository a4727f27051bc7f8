/* SPDX-License-Identifier: GPL-2.0-only */
/* The long way: every rule, for every frame that no fast way took. Behind a carrier's headers. */
#ifndef SXDP_DECIDE_H
#define SXDP_DECIDE_H

#include "rules/admit.h"
#include "rules/answer.h"
#include "switch/enter.h"
#include "switch/leave.h"
#include "switch/lookup.h"
#include "switch/route.h"
#include "switch/sample_entry.h"
#include "switch/transit.h"

/* A guest that is shaped sends into a queue, before any rule; what comes out of it is judged as if it came in by the port's device. */
static __always_inline int waits_for_its_turn(const struct sxdp_port *port, struct transit *transit)
{
	if (!(port->flags & SXDP_PORT_SHAPED))
		return 0;
	if (transit->ingress == port->ifindex)
		return 1;
	if (transit->ingress == port->shaped_ifindex)
		transit->ingress = port->ifindex;
	return 0;
}

static __always_inline sxdp_answer decide(carrier *ctx, struct transit *transit)
{
	struct sxdp_port *port = port_at(transit->slot);
	struct route route = {};
	sxdp_answer answer;

	if (!transit->is_from_wire && carrier_is_crumbs(ctx))
		return SXDP_MALFORMED;
	if (waits_for_its_turn(port, transit))
		return carrier_queue(ctx, transit, port);
	sample_at_entry(ctx, transit, port);
	answer = admit_port(port, transit->ingress);
	if (answer != SXDP_ADMITTED)
		return answer;
	if (carrier_parse(ctx, transit, port))
		return SXDP_MALFORMED;
	answer = enter(port, transit, carrier_length_fits(ctx, port, transit));
	transit_merge_ways(transit);
	if (answer == SXDP_PROBE)
		return carrier_take_probe(ctx, transit);
	if (answer == SXDP_ADMITTED) {
		if (frame_is_multicast(transit->frame.destination)) {
			sample_copies(ctx, transit, port);
			if (!is_for_wire(port, transit))
				return carrier_flood(ctx, transit, port);
			answer = carrier_guard(ctx, transit, port);
		}
		if (answer == SXDP_ADMITTED)
			answer = find_route(port, transit, &route);
	}
	if (answer == SXDP_FOR_HOST)
		return carrier_pass_to_host(transit);
	if (answer == SXDP_NO_TARGET && port->flags & SXDP_PORT_COPIED)
		return leave_to_listeners(ctx, transit, port);
	if (answer != SXDP_ADMITTED)
		return answer;
	answer = leave(ctx, transit, &route);
	if (answer == SXDP_COUNTED && frame_is_multicast(transit->frame.destination))
		count_group_for_wire(transit);
	return answer;
}

#endif
