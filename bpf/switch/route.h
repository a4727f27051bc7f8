/* SPDX-License-Identifier: GPL-2.0-only */
/* Where does it go? One frame for one station. */
#ifndef SXDP_ROUTE_H
#define SXDP_ROUTE_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/lookup.h"
#include "switch/transit.h"

/* To a port that an entry of the forwarding database leads to. */
static __always_inline sxdp_answer route_to(__u64 ref, const struct transit *transit, struct route *route)
{
	route->slot = fdb_slot(ref);
	if (route->slot == transit->slot)
		return SXDP_HAIRPIN;
	route->target = port_at(route->slot);
	return target_is_current(route->target, ref) ? SXDP_ADMITTED : SXDP_NO_TARGET;
}

/* Of a PF that switches nothing itself (VEPA, IEEE 802.1Qbg): all that a guest sends goes to the wire, from where it may come back. */
static __always_inline int is_for_wire(const struct sxdp_port *port, const struct transit *transit)
{
	return port->flags & SXDP_PORT_VEPA && !transit->is_from_wire;
}

/* A PF without an uplink leads nowhere; one whose uplink is gone had one. */
static __always_inline sxdp_answer answer_without_uplink(const struct sxdp_port *uplink)
{
	return target_is_lost(uplink) ? SXDP_UPLINK_LOST : SXDP_NO_TARGET;
}

static __always_inline sxdp_answer route_to_wire(const struct sxdp_port *port, const struct transit *transit, struct route *route)
{
	route->slot = port->pf;
	route->target = port_at(route->slot);
	if (!route->target->ifindex)
		return answer_without_uplink(route->target);
	return transit->frame.destination == route->target->mac ? SXDP_TARGET_DENIED : SXDP_ADMITTED;
}

/* No entry in the frame's VLAN: the host, a trunk port, the uplink, or nobody. */
static __always_inline sxdp_answer route_unknown(const struct sxdp_port *port, const struct transit *transit, struct route *route)
{
	struct sxdp_port *uplink = port_at(port->pf);
	__u64 ref;

	if (uplink->ifindex && transit->frame.destination == uplink->mac) {
		if (!transit->is_from_wire)
			return SXDP_TARGET_DENIED;
		return vlan_is_hosts(host_vlans_of(uplink, port->pf), transit->vlan) ? SXDP_FOR_HOST : SXDP_NO_TARGET;
	}
	ref = fdb_find_in_trunks(uplink, transit->vlan, transit->frame.destination);
	if (is_found_at(ref))
		return route_to(ref, transit, route);
	if (transit->is_from_wire)
		return SXDP_NO_TARGET;
	if (!uplink->ifindex)
		return answer_without_uplink(uplink);
	route->target = uplink;
	route->slot = port->pf;
	return SXDP_ADMITTED;
}

static __always_inline sxdp_answer find_route(const struct sxdp_port *port, const struct transit *transit, struct route *route)
{
	__u64 ref;

	if (is_for_wire(port, transit))
		return route_to_wire(port, transit, route);
	ref = fdb_find(port->pf, transit->vlan, transit->frame.destination);
	return is_found_at(ref) ? route_to(ref, transit, route) : route_unknown(port, transit, route);
}

#endif
