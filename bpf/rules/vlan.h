/* SPDX-License-Identifier: GPL-2.0-only */
/* VLAN rules: which VLAN a frame enters, who is a member, and what tag it leaves with. External tagging (none) = domain
 * of VLAN 0; VST (access) = the port's VLAN, untagged to the guest; VGT (trunk) = listed tags, and none in the native VLAN; an uplink carries
 * every VLAN tagged, and VLAN 0 untagged. A priority tag (VLAN 0) is no tag: it says how urgent the frame is, not where it belongs
 * (IEEE 802.1Q, 6.9). */
#ifndef SXDP_VLAN_H
#define SXDP_VLAN_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

static __always_inline int vlan_is_listed(const struct sxdp_trunk *trunk, __u64 vlan)
{
	return trunk && (trunk->vlans[(vlan & SXDP_VLAN_MASK) >> 6] >> (vlan & 63)) & 1;
}

/* Of a frame without a VLAN of its own. */
static __always_inline sxdp_answer vlan_admit_untagged(const struct sxdp_port *port)
{
	return port->flags & SXDP_PORT_TRUNK && port->vlan == SXDP_VLAN_NONE ? SXDP_UNTAGGED : SXDP_ADMITTED;
}

/* Of a frame with a tag. Sets *vlan unless the tag is a priority tag. */
static __always_inline sxdp_answer vlan_admit_tagged(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
							   const struct sxdp_frame *frame, __u64 *vlan)
{
	__u64 tag = frame->tci & SXDP_VLAN_MASK;

	if (frame_is_tag(frame->type))
		return SXDP_DOUBLE_TAG;
	if (frame->tpid != SXDP_TPID_8021Q)
		return SXDP_VLAN_DENIED;
	if (!tag)
		return vlan_admit_untagged(port);
	*vlan = tag;
	if (port->flags & SXDP_PORT_UPLINK)
		return tag == SXDP_VLAN_TRUNKS ? SXDP_VLAN_DENIED : SXDP_ADMITTED;
	return port->flags & SXDP_PORT_TRUNK && vlan_is_listed(trunk, tag) ? SXDP_ADMITTED : SXDP_SPOOF_VLAN;
}

/* Sets *vlan, or objects. */
static __always_inline sxdp_answer vlan_admit(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
						    const struct sxdp_frame *frame, __u64 *vlan)
{
	*vlan = port->vlan;
	return frame->tpid ? vlan_admit_tagged(port, trunk, frame, vlan) : vlan_admit_untagged(port);
}

/* Whether the host has a VLAN on its uplink, beside what is not tagged. */
static __always_inline int vlan_is_hosts(const struct sxdp_trunk *host_vlans, __u64 vlan)
{
	return vlan == SXDP_VLAN_NONE || vlan_is_listed(host_vlans, vlan);
}

/* Whether the host hears floods of a VLAN from the wire. */
static __always_inline int vlan_host_hears(const struct sxdp_port *uplink, const struct sxdp_trunk *host_vlans, __u64 vlan)
{
	return vlan == SXDP_VLAN_NONE ? (uplink->flags & SXDP_PORT_HOST_STACK) != 0 : vlan_is_listed(host_vlans, vlan);
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
	if (vlan == SXDP_VLAN_NONE)
		return 0;
	return target->flags & SXDP_PORT_UPLINK || (target->flags & SXDP_PORT_TRUNK && target->vlan != vlan);
}

#endif
