/* SPDX-License-Identifier: GPL-2.0-only */
/* VLAN rules: which VLAN a frame enters, who is a member, and what tag it leaves with. External tagging (none) = domain
 * of VLAN 0; VST (access) = the port's VLAN, untagged to the guest; VGT (trunk) = listed tags only; an uplink carries
 * every VLAN tagged, and VLAN 0 untagged. */
#ifndef SXDP_VLAN_H
#define SXDP_VLAN_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

static __always_inline int vlan_is_listed(const struct sxdp_trunk *trunk, __u64 vlan)
{
	return trunk && (trunk->vlans[(vlan & SXDP_VLAN_MASK) >> 6] >> (vlan & 63)) & 1;
}

/* The rules of frames with a tag. A priority tag (VLAN 0) counts as untagged on the uplink and is refused from guests. */
static __always_inline sxdp_answer vlan_admit_tagged(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
							   const struct sxdp_frame *frame, __u64 *vlan)
{
	__u64 tag = frame->tci & SXDP_VLAN_MASK;

	if (frame_is_tag(frame->type))
		return SXDP_DOUBLE_TAG;
	if (frame->tpid != SXDP_TPID_8021Q)
		return SXDP_VLAN_DENIED;
	*vlan = tag;
	if (port->flags & SXDP_PORT_UPLINK)
		return tag == SXDP_VLAN_TRUNKS ? SXDP_VLAN_DENIED : SXDP_ADMITTED;
	return port->flags & SXDP_PORT_TRUNK && tag && vlan_is_listed(trunk, tag) ? SXDP_ADMITTED : SXDP_VLAN_DENIED;
}

/* Sets *vlan, or objects. */
static __always_inline sxdp_answer vlan_admit(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
						    const struct sxdp_frame *frame, __u64 *vlan)
{
	*vlan = port->vlan;
	if (frame->tpid)
		return vlan_admit_tagged(port, trunk, frame, vlan);
	return port->flags & SXDP_PORT_TRUNK ? SXDP_VLAN_DENIED : SXDP_ADMITTED;
}

static __always_inline int vlan_is_member(const struct sxdp_port *target, const struct sxdp_trunk *trunk, __u64 vlan)
{
	if (target->flags & SXDP_PORT_UPLINK)
		return 1;
	if (target->flags & SXDP_PORT_TRUNK)
		return vlan_is_listed(trunk, vlan);
	return target->vlan == vlan;
}

static __always_inline int vlan_leaves_tagged(const struct sxdp_port *target, __u64 vlan)
{
	return vlan != SXDP_VLAN_NONE && (target->flags & (SXDP_PORT_UPLINK | SXDP_PORT_TRUNK)) != 0;
}

#endif
