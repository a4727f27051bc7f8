/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a port takes a frame that is meant for it. */
#ifndef SXDP_TARGET_H
#define SXDP_TARGET_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/isolation.h"
#include "rules/vlan.h"

/* The wire's end, when there is no wire. */
static __always_inline int target_is_lost(const struct sxdp_port *target)
{
	return (target->flags & SXDP_PORT_LOST) != 0;
}

/* from: the port where the frame entered. */
static __always_inline sxdp_answer target_judge(const struct sxdp_port *from, const struct sxdp_port *target,
						      const struct sxdp_trunk *trunk, __u64 vlan)
{
	if (target_is_lost(target))
		return SXDP_UPLINK_LOST;
	if (!(target->flags & SXDP_PORT_LINK_UP) || !vlan_is_member(target, trunk, vlan))
		return SXDP_TARGET_DENIED;
	if (target->flags & SXDP_PORT_BLOCKED)
		return SXDP_BLOCKED;
	return isolation_parts(from, target) ? SXDP_PRIVATE_VLAN : SXDP_ADMITTED;
}

/* Whether a fast way may end there with a frame of this VLAN: no rule objects, and no tag changes. An uplink is in VLAN 0 here. */
static __always_inline int target_is_plain(const struct sxdp_port *target, __u64 vlan)
{
	return (target->flags & ~SXDP_PLAIN_TARGET) == SXDP_PORT_LINK_UP && target->vlan == vlan;
}

/* A copy of a flood: a port that was cut because of a loop gets none. */
static __always_inline sxdp_answer target_judge_copy(const struct sxdp_port *from, const struct sxdp_port *target,
							   const struct sxdp_trunk *trunk, __u64 vlan)
{
	return target->flags & SXDP_PORT_LOOP ? SXDP_TARGET_DENIED : target_judge(from, target, trunk, vlan);
}

/* Whether it fits into an XDP buffer, also with a tag that it does not have yet. */
static __always_inline int target_fits_buffer(__u64 longest_bytes)
{
	return longest_bytes + SXDP_TAG_BYTES <= SXDP_BUFFER_BYTES;
}

/* longest_bytes: of the frame, or of the segments of a super-frame, with all headers. */
static __always_inline int target_takes(const struct sxdp_port *target, __u64 longest_bytes)
{
	return !(target->flags & SXDP_PORT_ONE_BUFFER) || target_fits_buffer(longest_bytes);
}

/* Whether its device takes a frame of which so many bytes are behind the Ethernet header and all tags. There is room for one tag beside
 * a device's MTU, so that of two the second is a part of it. */
static __always_inline int target_device_takes(const struct sxdp_port *target, __u64 payload_bytes, int has_two_tags)
{
	__u64 device_mtu_bytes = target->device_mtu_bytes ? target->device_mtu_bytes : target->mtu_bytes;

	if (has_two_tags)
		return payload_bytes + SXDP_TAG_BYTES <= device_mtu_bytes;
	return !(target->flags & SXDP_PORT_NARROW) || payload_bytes <= device_mtu_bytes;
}

/* An entry counts only for the attachment that it was made for. An empty port has ref 0. */
static __always_inline int target_is_current(const struct sxdp_port *target, __u64 ref)
{
	return target->ref == ref;
}

#endif
