/* SPDX-License-Identifier: GPL-2.0-only */
/* Who a guest may claim to be. The frame's source is compared with the effective MAC. An address that belongs to another
 * port of the switch, or to the uplink itself, is spoofed whatever the policy says; any other foreign address is the
 * business of forged_transmits. An address that several ports hold is each holder's.
 * And who the wire may: anybody but those whose frames can only come from this side, unless wire_own_source accepts them. */
#ifndef SXDP_SOURCE_H
#define SXDP_SOURCE_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/fdb.h"
#include "rules/frame.h"

/* Of a guest's frame. */
static __always_inline int source_is_foreign(const struct sxdp_port *port, const struct sxdp_frame *frame)
{
	return frame->source != port->mac;
}

/* The port's own address, which nobody else may have. */
static __always_inline int source_is_its_alone(const struct sxdp_port *port, const struct sxdp_frame *frame)
{
	return !source_is_foreign(port, frame) && !(port->flags & SXDP_PORT_SPEAKS);
}

/* Whether the port may speak by an address that several may hold. */
static __always_inline int source_is_held(const struct sxdp_shared *shared, __u64 slot)
{
	return shared && (shared->holders[(slot & SXDP_SLOT_MASK) >> 6] >> (slot & 63)) & 1;
}

/* Whether the operator named it for the port. */
static __always_inline int source_is_allowed(const struct sxdp_allowed *list, __u64 source)
{
	__u32 i;

	for (i = 0; list && i < SXDP_MAX_ALLOWED; i++) {
		if (list->patterns[i].mask && (source & list->patterns[i].mask) == list->patterns[i].address)
			return 1;
	}
	return 0;
}

/* owner: the place of the source in this VLAN, or 0; uplink: the PF's own port; list: of the port's allowed addresses, or 0. */
static __always_inline sxdp_answer source_judge(const struct sxdp_port *port, __u64 slot,
						      const struct sxdp_frame *frame,
						      __u64 owner,
						      const struct sxdp_port *uplink,
						      const struct sxdp_allowed *list)
{
	if (owner && fdb_slot(owner) != slot)
		return SXDP_SPOOF_MAC;
	if (uplink->mac == frame->source)
		return SXDP_SPOOF_MAC;
	if (port->flags & SXDP_PORT_FORGED_ACCEPT || source_is_allowed(list, frame->source))
		return SXDP_ADMITTED;
	return SXDP_FORGED_SOURCE;
}

/* Whether the source of a frame from the wire matters. */
static __always_inline int source_is_judged_from_wire(const struct sxdp_port *uplink)
{
	return !(uplink->flags & SXDP_PORT_OWN_SOURCE_ACCEPT);
}

/* If it does. owner: as above. */
static __always_inline sxdp_answer source_judge_from_wire(const struct sxdp_port *uplink, const struct sxdp_frame *frame,
								__u64 owner)
{
	return owner || uplink->mac == frame->source ? SXDP_LOOP : SXDP_ADMITTED;
}

#endif
