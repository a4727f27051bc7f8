// SPDX-License-Identifier: GPL-2.0-only
/* The XDP programs: on representors of VFs in XDP mode, on uplinks whose driver runs XDP, and the stages that they jump to. Each frame
 * is counted once, by the program that finishes it; a missing entry of any kind drops with a verdict. */
#include "carrier/xdp.h"
#include "carrier/xdp_flood.h"
#include "switch/decide.h"
#include "switch/lookup.h"
#include "switch/short.h"

static __always_inline int xdp_enter(carrier *ctx, struct transit *transit)
{
	if (recall(ctx, transit) || take_short_way(ctx, transit))
		return carrier_finish(transit, SXDP_COUNTED);
	carrier_jump(ctx, transit, SXDP_STAGE_LONG);
	return carrier_finish(transit, SXDP_MISSED_STAGE);
}

int xdp_vf(carrier *ctx)
{
	struct transit transit = { .frames = 1, .slot = slot_of_vf(ctx->ingress_ifindex), .ingress = ctx->ingress_ifindex };

	return xdp_enter(ctx, &transit);
}

int xdp_uplink(carrier *ctx)
{
	struct transit transit = { .frames = 1, .slot = uplink_slot(), .ingress = ctx->ingress_ifindex, .is_from_wire = 1 };

	return xdp_enter(ctx, &transit);
}

int xdp_long(carrier *ctx)
{
	struct transit transit = { .frames = 1, .ingress = ctx->ingress_ifindex };
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return XDP_DROP;
	transit.slot = here->handed_slot & SXDP_SLOT_MASK;
	transit.is_from_wire = transit.slot < SXDP_FIRST_VF_SLOT;
	return carrier_finish(&transit, decide(ctx, &transit));
}

int xdp_flood(carrier *ctx)
{
	struct transit transit = { .frames = 1, .ingress = ctx->ingress_ifindex };
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return XDP_PASS;
	transit.slot = here->handed_slot & SXDP_SLOT_MASK;
	transit.vlan = here->handed_vlan & SXDP_VLAN_WHOLE;
	return carrier_finish(&transit, flood(ctx, &transit, here));
}
