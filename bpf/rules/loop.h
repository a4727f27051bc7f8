/* SPDX-License-Identifier: GPL-2.0-only */
/* Loops through a guest: one that bridges two of its VFs sends each flood back by the other, for ever. The daemon sends probes
 * into the guest by one port and learns here whether they come back by another; it then cuts one of the two, by a flag.
 */
#ifndef SXDP_LOOP_H
#define SXDP_LOOP_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

/* Of a guest's frame: it ends here, whoever made it. From the wire it is a frame like any other. */
static __always_inline int loop_is_probe(const struct sxdp_frame *frame)
{
	return frame->destination == SXDP_PROBE_GROUP && frame->type == SXDP_ETH_LOOPBACK;
}

/* Of a group frame that enters. Where copies may leave is target.h's business. */
static __always_inline sxdp_answer loop_judge(const struct sxdp_port *port)
{
	return port->flags & SXDP_PORT_LOOP ? SXDP_LOOP : SXDP_ADMITTED;
}

#endif
