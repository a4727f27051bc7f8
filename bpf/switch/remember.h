/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow cache: what the short way sent goes the same way again, without a look at the rules. Behind a carrier's header. */
#ifndef SXDP_REMEMBER_H
#define SXDP_REMEMBER_H

#include "abi/types.h"
#include "rules/flow.h"
#include "rules/frame.h"
#include "switch/count.h"
#include "switch/lookup.h"
#include "switch/transit.h"

/* Read before any table, and never kept from an earlier read. */
static __always_inline __u64 epoch_now(void)
{
	struct sxdp_ports *ports = ports_handle();

	return *(volatile __u64 *)&ports->epoch;
}

/* The frame's place in this CPU's flow cache, and its key but for the epoch. 0 when the header is cut off, or no type is what it
 * says. */
static __always_inline struct sxdp_flow *flow_slot(carrier *ctx, struct sxdp_cpu *here, struct sxdp_flow_key *key)
{
	struct sxdp_flow *flow;

	if (frame_ends((void *)(long)ctx->data, (void *)(long)ctx->data_end, &key->head, &key->tail))
		return 0;
	if (!carrier_type_agrees(ctx, __builtin_bswap16((__u16)(key->tail >> 48))))
		return 0;
	flow = &here->flows[flow_index(key)];
	asm volatile("" : "+r"(flow));
	return flow;
}

/* As the last frame of its flow. Returns 0 when there was none. */
static __always_inline int recall(carrier *ctx, struct transit *transit)
{
	struct sxdp_flow_key key = { .epoch = epoch_now(), .ingress = carrier_flow_ingress(transit) };
	struct sxdp_cpu *here = this_cpu();
	struct sxdp_flow *flow;

	if (!here)
		return 0;
	flow = flow_slot(ctx, here, &key);
	transit->frame.length_bytes = carrier_first_bytes(ctx);
	if (!flow || !flow_matches(flow, &key, transit->frame.length_bytes))
		return 0;
	transit->target_slot = flow->target_slot;
	if (carrier_send_plain(ctx, transit))
		return 0;
	count_forwarded_here(here, transit);
	return 1;
}

/* After the short way sent a frame, which is as it came. Its key is made again: kept over the rules, it would cost every frame
 * registers. epoch: of before the rules. */
static __always_inline void keep(carrier *ctx, const struct transit *transit, const struct sxdp_port *port, __u64 epoch)
{
	struct sxdp_flow_key key = { .epoch = epoch, .ingress = carrier_flow_ingress(transit) };
	struct sxdp_cpu *here = this_cpu();
	struct sxdp_flow *flow;

	if (!here || !epoch)
		return;
	flow = flow_slot(ctx, here, &key);
	if (flow)
		flow_learn(flow, &key, SXDP_ETH_HEADER_BYTES + port->mtu_bytes, transit->target_slot);
}

#endif
