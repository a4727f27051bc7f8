/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules that a frame must pass to enter, in the order of the design: link, form and length, control frames. VLAN and
 * source follow in vlan.h and source.h, as they need more than the port. */
#ifndef SXDP_ADMIT_H
#define SXDP_ADMIT_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/control.h"
#include "rules/frame.h"

/* Before the frame is looked at: what enters a port that is down is not even parsed. ifindex: of the device it came in by. */
static __always_inline sxdp_answer admit_port(const struct sxdp_port *port, __u64 ifindex)
{
	if (port->ifindex != ifindex)
		return SXDP_UNKNOWN_PORT;
	if (!(port->flags & SXDP_PORT_LINK_UP))
		return SXDP_LINK_DOWN;
	return port->flags & SXDP_PORT_BLOCKED ? SXDP_BLOCKED : SXDP_ADMITTED;
}

static __always_inline int admit_length_fits(const struct sxdp_port *port, const struct sxdp_frame *frame)
{
	return frame->length_bytes <= SXDP_ETH_HEADER_BYTES + frame->tag_bytes + port->mtu_bytes;
}

/* What a fast way asks of the port where the frame enters; as admit_port() and more. */
static __always_inline int admit_port_is_plain(const struct sxdp_port *port, __u64 ifindex)
{
	return port->ifindex == ifindex && (port->flags & ~SXDP_PLAIN_INGRESS) == SXDP_PORT_LINK_UP;
}

/* length_fits: the caller's answer, as a super-frame's (tc) is a matter of its segments. */
static __always_inline sxdp_answer admit_frame(const struct sxdp_frame *frame, int length_fits, int is_from_wire)
{
	if (frame_is_multicast(frame->source) || !frame->source)
		return SXDP_MALFORMED;
	if (!length_fits)
		return SXDP_OVERSIZE;
	if (control_is_link_local(frame))
		return is_from_wire && !control_is_pause(frame) ? SXDP_FOR_HOST : SXDP_CONTROL_FRAME;
	return SXDP_ADMITTED;
}

#endif
