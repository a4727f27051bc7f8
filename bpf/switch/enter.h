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

/* Who spoke last by an address that several hold has it. Written when it is another one only. */
static __always_inline void note_speaker(struct sxdp_shared *shared, __u64 slot)
{
	if (shared->speaker != slot)
		shared->speaker = (__u32)slot;
}

static __always_inline int guest_speaks_as_holder(const struct sxdp_port *port, const struct transit *transit)
{
	struct sxdp_shared *shared = shared_at(port, transit->vlan, transit->frame.source);

	if (!source_is_held(shared, transit->slot))
		return 0;
	note_speaker(shared, transit->slot);
	return 1;
}

/* owner: the ref of the port that has the address now. */
static __always_inline int wire_speaks_as_holder(const struct sxdp_port *uplink, const struct transit *transit, __u64 owner)
{
	struct sxdp_shared *shared = owner ? shared_at(uplink, transit->vlan, transit->frame.source) : 0;

	if (!shared)
		return 0;
	note_speaker(shared, uplink->pf);
	return 1;
}

static __always_inline sxdp_answer enter_from_wire(const struct sxdp_port *uplink, const struct transit *transit)
{
	__u64 owner;

	if (!source_is_judged_from_wire(uplink))
		return SXDP_ADMITTED;
	owner = source_owner(uplink, uplink, transit);
	if (wire_speaks_as_holder(uplink, transit, owner))
		return SXDP_ADMITTED;
	return source_judge_from_wire(uplink, &transit->frame, owner);
}

static __always_inline sxdp_answer enter_from_guest(const struct sxdp_port *port, const struct transit *transit)
{
	struct sxdp_port *uplink = port_at(port->pf);
	sxdp_answer answer;

	if (source_is_its_alone(port, &transit->frame) || guest_speaks_as_holder(port, transit))
		return SXDP_ADMITTED;
	answer = loop_judge_foreign(port);
	if (answer != SXDP_ADMITTED)
		return answer;
	return source_judge(port, transit->slot, &transit->frame, source_owner(port, uplink, transit), uplink,
			    allowed_of(port, transit->slot));
}

/* Sets the frame's VLAN. length_fits: the carrier's answer. */
static __always_inline sxdp_answer enter(const struct sxdp_port *port, struct transit *transit, int length_fits)
{
	sxdp_answer answer = admit_frame(&transit->frame, length_fits, transit->is_from_wire);
	int is_probe = !transit->is_from_wire && loop_is_probe(port, &transit->frame);  /* of what is behind a tag of the guest's own, too */

	if (answer == SXDP_ADMITTED)
		answer = vlan_admit(port, trunk_of(port, transit->slot), &transit->frame, &transit->vlan);
	if (answer != SXDP_ADMITTED)
		return answer;
	if (is_probe)
		return SXDP_PROBE;
	return transit->is_from_wire ? enter_from_wire(port, transit) : enter_from_guest(port, transit);
}

#endif
