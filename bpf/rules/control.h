/* SPDX-License-Identifier: GPL-2.0-only */
/* Link-local control frames, which never cross the switch: the 802.1 reserved group addresses (STP, LACP, 802.1X, LLDP), what speaks
 * these protocols to another address, PTP over Ethernet (IEEE 1588 annex F), and Cisco's CDP/VTP/PVST+ groups. From the wire they are
 * the host's, as on a device without a switch. MAC control is nobody's: PAUSE and PFC end here from either side, as a VF that could
 * send them would throttle the others (Smolyar et al., USENIX Security 2015). */
#ifndef SXDP_CONTROL_H
#define SXDP_CONTROL_H

#include "abi/types.h"
#include "rules/frame.h"

#define SXDP_RESERVED_GROUP 0x00000000c28001ULL       /* 01:80:c2:00:00:0x */
#define SXDP_RESERVED_GROUP_MASK 0xf0ffffffffffULL
#define SXDP_CISCO_GROUP 0xcccc0c0001ULL              /* 01:00:0c:cc:cc:xx; cc and cd are in use */
#define SXDP_CISCO_GROUP_MASK 0xffffffffffULL
#define SXDP_CISCO_LAST_BYTE_CDP 0xccULL
#define SXDP_CISCO_LAST_BYTE_PVST 0xcdULL

static __always_inline int control_is_group(__u64 destination)
{
	__u64 last = destination >> 40;

	if ((destination & SXDP_RESERVED_GROUP_MASK) == SXDP_RESERVED_GROUP)
		return 1;
	return (destination & SXDP_CISCO_GROUP_MASK) == SXDP_CISCO_GROUP &&
	       (last == SXDP_CISCO_LAST_BYTE_CDP || last == SXDP_CISCO_LAST_BYTE_PVST);
}

/* Whether a protocol is spoken between a station and its switch. Most frames are told by their first byte. */
static __always_inline int control_is_type(__u64 type)
{
	return (type & SXDP_ETH_CONTROL_MASK) == SXDP_ETH_CONTROL &&
	       (type == SXDP_ETH_PAUSE || type == SXDP_ETH_SLOW || type == SXDP_ETH_EAPOL || type == SXDP_ETH_LLDP ||
		type == SXDP_ETH_PTP);
}

static __always_inline int control_is_pause(const struct sxdp_frame *frame)
{
	return frame->type == SXDP_ETH_PAUSE;
}

static __always_inline int control_is_link_local(const struct sxdp_frame *frame)
{
	if (control_is_type(frame->type))
		return 1;
	return frame_is_multicast(frame->destination) && control_is_group(frame->destination);
}

#endif
