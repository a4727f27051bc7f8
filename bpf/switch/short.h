/* SPDX-License-Identifier: GPL-2.0-only */
/* The short way, which most frames take: between plain ports of one VLAN, without a tag, from its port's own address to a station that
 * the table knows, or that it does not, to the wire. It says yes or no. Yes: the frame was sent, counted and remembered. No:
 * nothing was done, and the long way decides from the start; nothing is dropped here. Behind a carrier's header.
 */
#ifndef SXDP_SHORT_H
#define SXDP_SHORT_H

#include "abi/types.h"
#include "rules/admit.h"
#include "rules/control.h"
#include "rules/source.h"
#include "rules/target.h"
#include "switch/count.h"
#include "switch/lookup.h"
#include "switch/remember.h"
#include "switch/transit.h"

/* Whether no port of this side has the source of a frame from the wire. */
static __always_inline int wire_source_is_plain(const struct sxdp_port *uplink, const struct transit *transit)
{
	if (!source_is_judged_from_wire(uplink))
		return 1;
	if (uplink->mac == transit->frame.source || fdb_find_in_table(uplink->pf, transit->vlan, transit->frame.source))
		return 0;
	return !(uplink->flags & SXDP_PORT_PF_HAS_TRUNKS) ||
	       !fdb_find_in_table(uplink->pf, SXDP_VLAN_TRUNKS, transit->frame.source);
}

static __always_inline int source_is_plain(const struct sxdp_port *port, const struct transit *transit)
{
	return transit->is_from_wire ? wire_source_is_plain(port, transit) : !source_is_foreign(port, &transit->frame);
}

/* An address of nobody is the wire's, if a guest asks. */
static __always_inline struct sxdp_port *plain_uplink(const struct sxdp_port *port, struct transit *transit)
{
	struct sxdp_port *uplink = port_at(port->pf);

	if (transit->is_from_wire || !uplink->ifindex || uplink->flags & SXDP_PORT_PF_HAS_TRUNKS ||
	    uplink->mac == transit->frame.destination)
		return 0;
	transit->target_slot = port->pf;
	return uplink;
}

static __always_inline struct sxdp_port *plain_target(const struct sxdp_port *port, struct transit *transit)
{
	__u64 ref = fdb_find_in_table(port->pf, transit->vlan, transit->frame.destination);
	struct sxdp_port *target;

	if (!ref)
		return plain_uplink(port, transit);
	if (ref == FDB_BUCKET_IS_FULL)
		return 0;
	transit->target_slot = fdb_slot(ref);
	target = port_at(transit->target_slot);
	return target_is_current(target, ref) && transit->target_slot != transit->slot ? target : 0;
}

static __always_inline int take_short_way(carrier *ctx, struct transit *transit)
{
	__u64 epoch = epoch_now();
	struct sxdp_port *port = port_at(transit->slot);
	struct sxdp_frame *frame = &transit->frame;
	struct sxdp_port *target;

	if (!admit_port_is_plain(port, transit->ingress))
		return 0;
	if (frame_parse(frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end) || !carrier_type_agrees(ctx, frame->type))
		return 0;
	frame->length_bytes = carrier_first_bytes(ctx);
	transit->vlan = port->vlan;
	if (!frame_is_plain(frame) || control_is_type(frame->type) || !admit_length_fits(port, frame) ||
	    !source_is_plain(port, transit))
		return 0;
	target = plain_target(port, transit);
	if (!target || !target_is_plain(target, transit->vlan) || !carrier_reaches(target) || carrier_send_plain(ctx, transit))
		return 0;
	count_forwarded(transit);
	keep(ctx, transit, port, epoch);
	return 1;
}

#endif
