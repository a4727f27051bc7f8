/* SPDX-License-Identifier: GPL-2.0-only */
/* Loops through a guest: one that bridges two of its VFs sends each flood back by the other, for ever. The daemon sends probes
 * into the guest by one port and learns here whether they come back by another; it then cuts one of the two, by a flag.
 */
#ifndef SXDP_LOOP_H
#define SXDP_LOOP_H

#include "abi/types.h"
#include "rules/answer.h"
#include "rules/frame.h"

/* Whether unicast that enters by a port may be copied, here or where the wire gives it back: what goes round a loop then is not for a
 * group alone. Frames of such a port take no fast way. */
static __always_inline int loop_takes_unicast(const struct sxdp_port *port)
{
	return (port->flags & (SXDP_PORT_COPIED | SXDP_PORT_VEPA)) != 0;
}

/* Of a guest's frame: it ends here, whoever made it. From the wire it is a frame like any other. */
static __always_inline int loop_is_probe(const struct sxdp_port *port, const struct sxdp_frame *frame)
{
	if (frame->type != SXDP_ETH_LOOPBACK)
		return 0;
	return frame->destination == SXDP_PROBE_GROUP || (frame->destination == SXDP_PROBE_STATION && loop_takes_unicast(port));
}

static __always_inline int loop_is_cut(const struct sxdp_port *port)
{
	return (port->flags & SXDP_PORT_LOOP) != 0;
}

/* Of a group frame that enters. Where copies may leave is target.h's business. */
static __always_inline sxdp_answer loop_judge(const struct sxdp_port *port)
{
	return loop_is_cut(port) ? SXDP_LOOP : SXDP_ADMITTED;
}

/* Of a frame from an address that is not its port's: where the wire gives frames back, what a bridge in the guest sends by a cut
 * port would be copied when it comes again, whoever it is for. */
static __always_inline sxdp_answer loop_judge_foreign(const struct sxdp_port *port)
{
	return loop_is_cut(port) && port->flags & SXDP_PORT_VEPA ? SXDP_LOOP : SXDP_ADMITTED;
}

#endif
