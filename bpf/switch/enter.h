/* SPDX-License-Identifier: GPL-2.0-only */
/* May it enter? The rules of the port where it comes in, after that its link is up (rules/admit.h), in the order of the design. What
 * holds for group frames only is in carrier/tc_flood.h. */
#ifndef SXDP_ENTER_H
#define SXDP_ENTER_H

#include "abi/types.h"
#include "rules/admit.h"
#include "rules/answer.h"
#include "rules/loop.h"
#include "rules/source.h"
#include "rules/vlan.h"
#include "switch/lookup.h"
#include "switch/transit.h"

/* Whether a ref speaks for an address: of a guest's frame always, as nobody may take it; of a frame from the wire only while the
 * station is to be found on this side. */
static __always_inline int speaks_for(const struct transit *transit, __u64 ref)
{
	return transit->is_from_wire ? is_found_at(ref) : ref != 0;
}

/* The ref of the frame's source address in its VLAN, or 0. */
static __always_inline __u64 source_owner(const struct sxdp_port *port, const struct sxdp_port *uplink,
					  const struct transit *transit)
{
	__u64 owner = fdb_find(port->pf, transit->vlan, transit->frame.source);

	if (!speaks_for(transit, owner))
		owner = fdb_find_in_trunks(uplink, transit->vlan, transit->frame.source);
	return speaks_for(transit, owner) ? owner : 0;
}

static __always_inline sxdp_answer enter_from_wire(const struct sxdp_port *uplink, const struct transit *transit)
{
	if (!source_is_judged_from_wire(uplink))
		return SXDP_ADMITTED;
	return source_judge_from_wire(uplink, &transit->frame, source_owner(uplink, uplink, transit));
}

static __always_inline sxdp_answer enter_from_guest(const struct sxdp_port *port, const struct transit *transit)
{
	struct sxdp_port *uplink = port_at(port->pf);

	if (loop_is_probe(&transit->frame))
		return SXDP_PROBE;
	if (!source_is_foreign(port, &transit->frame))
		return SXDP_ADMITTED;
	return source_judge(port, transit->slot, &transit->frame, source_owner(port, uplink, transit), uplink,
			    allowed_of(port, transit->slot));
}

/* Sets the frame's VLAN. length_fits: the carrier's answer. */
static __always_inline sxdp_answer enter(const struct sxdp_port *port, struct transit *transit, int length_fits)
{
	sxdp_answer answer = admit_frame(&transit->frame, length_fits, transit->is_from_wire);

	if (answer == SXDP_ADMITTED)
		answer = vlan_admit(port, trunk_of(port, transit->slot), &transit->frame, &transit->vlan);
	if (answer != SXDP_ADMITTED)
		return answer;
	return transit->is_from_wire ? enter_from_wire(port, transit) : enter_from_guest(port, transit);
}

#endif
