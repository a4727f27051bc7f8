/* SPDX-License-Identifier: GPL-2.0-only */
/* VLAN rules: which VLAN a frame enters, who is a member, and what tag it leaves with. External tagging (none) = domain
 * of VLAN 0; VST (access) = the port's VLAN, untagged to the guest; VGT (trunk) = listed tags, and none in the native VLAN; an uplink carries
 * every VLAN tagged, and VLAN 0 untagged. A priority tag (VLAN 0) is no tag: it says how urgent the frame is, not where it belongs
 * (IEEE 802.1Q, 6.9). A VLAN of 802.1ad, which a port's flag says, is another one than 802.1Q's of the same number; its tag may have a
 * guest's own behind it, which is payload here. */
#ifndef SXDP_VLAN_H
#define SXDP_VLAN_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

/* vlan: of 802.1Q. */
static __always_inline int vlan_is_listed(const struct sxdp_trunk *trunk, __u64 vlan)
{
	return trunk && !(vlan & SXDP_VLAN_SERVICE) && (trunk->vlans[(vlan & SXDP_VLAN_MASK) >> 6] >> (vlan & 63)) & 1;
}

/* Which kind of VLAN a VF's port is in: SXDP_VLAN_SERVICE, or 0. */
static __always_inline __u64 vlan_kind(const struct sxdp_port *port)
{
	return port->flags & SXDP_PORT_SERVICE ? SXDP_VLAN_SERVICE : 0;
}

/* Of a frame without a tag. */
static __always_inline __u64 vlan_of_untagged(const struct sxdp_port *port)
{
	return port->vlan == SXDP_VLAN_NONE ? SXDP_VLAN_NONE : port->vlan | vlan_kind(port);
}

/* Whether a trunk port carries a VLAN. */
static __always_inline int vlan_is_carried(const struct sxdp_port *port, const struct sxdp_trunk *trunk, __u64 vlan)
{
	return (vlan & SXDP_VLAN_SERVICE) == vlan_kind(port) && vlan_is_listed(trunk, vlan & SXDP_VLAN_MASK);
}

/* Of a frame without a VLAN of its own. */
static __always_inline sxdp_answer vlan_admit_untagged(const struct sxdp_port *port)
{
	return port->flags & SXDP_PORT_TRUNK && port->vlan == SXDP_VLAN_NONE ? SXDP_UNTAGGED : SXDP_ADMITTED;
}

/* Whether service tags enter here: from the wire, if they mean anything on this side, and from guests that have them. */
static __always_inline int vlan_takes_service_tags(const struct sxdp_port *port)
{
	return port->of_pf & SXDP_PF_HAS_SERVICE || (port->flags & SXDP_PORT_TRUNK && port->flags & SXDP_PORT_SERVICE);
}

/* Of a frame with a tag of 802.1Q. Sets *vlan unless the tag is a priority tag, or the guest's own: a port in an access VLAN of 802.1ad
 * carries its guest's VLANs as they are, behind the tag of its own. */
static __always_inline sxdp_answer vlan_admit_customer_tag(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
							   struct sxdp_frame *frame, __u64 *vlan)
{
	__u64 tag = frame->tci & SXDP_VLAN_MASK;

	if (!tag)
		return vlan_admit_untagged(port);
	if (port->flags & SXDP_PORT_UPLINK) {
		*vlan = tag;
		return tag == SXDP_VLAN_TRUNKS ? SXDP_VLAN_DENIED : SXDP_ADMITTED;
	}
	if (!(port->flags & SXDP_PORT_SERVICE)) {
		*vlan = tag;
		return port->flags & SXDP_PORT_TRUNK && vlan_is_listed(trunk, tag) ? SXDP_ADMITTED : SXDP_SPOOF_VLAN;
	}
	if (port->flags & SXDP_PORT_TRUNK)
		return SXDP_VLAN_DENIED;
	frame_take_tag_for_inner(frame);
	return SXDP_ADMITTED;
}

/* Of a frame with a tag of 802.1ad. */
static __always_inline sxdp_answer vlan_admit_service_tag(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
							  const struct sxdp_frame *frame, __u64 *vlan)
{
	__u64 tag = frame->tci & SXDP_VLAN_MASK;

	if (!vlan_takes_service_tags(port) || !tag || tag == SXDP_VLAN_TRUNKS)
		return SXDP_VLAN_DENIED;
	*vlan = tag | SXDP_VLAN_SERVICE;
	return port->flags & SXDP_PORT_UPLINK || vlan_is_listed(trunk, tag) ? SXDP_ADMITTED : SXDP_SPOOF_VLAN;
}

/* A guest's own tag stands behind a service tag, or alone in an access VLAN of that kind. */
static __always_inline int vlan_has_one_tag_too_many(const struct sxdp_port *port, const struct sxdp_frame *frame)
{
	if (!frame_has_inner_tag(frame))
		return 0;
	return frame->tpid != SXDP_TPID_8021AD || frame->type != SXDP_TPID_8021Q || !vlan_takes_service_tags(port);
}

/* Sets *vlan, or objects. */
static __always_inline sxdp_answer vlan_admit(const struct sxdp_port *port, const struct sxdp_trunk *trunk, struct sxdp_frame *frame,
					      __u64 *vlan)
{
	*vlan = vlan_of_untagged(port);
	if (!frame->tpid)
		return vlan_admit_untagged(port);
	if (vlan_has_one_tag_too_many(port, frame))
		return SXDP_DOUBLE_TAG;
	if (frame->tpid == SXDP_TPID_8021Q)
		return vlan_admit_customer_tag(port, trunk, frame, vlan);
	return frame->tpid == SXDP_TPID_8021AD ? vlan_admit_service_tag(port, trunk, frame, vlan) : SXDP_VLAN_DENIED;
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
		return vlan_is_carried(target, trunk, vlan);
	return vlan_of_untagged(target) == vlan;
}

static __always_inline int vlan_leaves_tagged(const struct sxdp_port *target, __u64 vlan)
{
	if (vlan == SXDP_VLAN_NONE)
		return 0;
	return target->flags & SXDP_PORT_UPLINK || (target->flags & SXDP_PORT_TRUNK && vlan_of_untagged(target) != vlan);
}

#endif
