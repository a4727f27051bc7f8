/* SPDX-License-Identifier: GPL-2.0-only */
/* Private VLANs (RFC 5517): who may meet whom within one VLAN. A port's segment says it: promiscuous ports, as uplinks are, meet
 * everybody; isolated ones only those; a community meets itself as well. */
#ifndef SXDP_ISOLATION_H
#define SXDP_ISOLATION_H

#include "abi/types.h"

static __always_inline int isolation_parts(const struct sxdp_port *from, const struct sxdp_port *to)
{
	if (from->segment == SXDP_SEGMENT_PROMISCUOUS || to->segment == SXDP_SEGMENT_PROMISCUOUS)
		return 0;
	return from->segment != to->segment || from->segment == SXDP_SEGMENT_ISOLATED;
}

#endif
