// SPDX-License-Identifier: GPL-2.0-only
/* The tc programs: on every representor and uplink, always; they finish whatever reaches them. Each frame is counted once; a missing
 * entry of any kind drops with a verdict, and nothing falls through to the host's stack but frames from the wire that are the
 * host's. */
#include "carrier/tc.h"
#include "carrier/tc_flood.h"
#include "switch/decide.h"
#include "switch/lookup.h"
#include "switch/short.h"

static __always_inline int tc_enter(carrier *ctx, struct transit *transit)
{
	if (!ctx->vlan_present && !ctx->gso_size && (recall(ctx, transit) || take_short_way(ctx, transit)))
		return carrier_finish(transit, SXDP_COUNTED);
	return carrier_finish(transit, decide(ctx, transit));
}

int tc_vf(carrier *ctx)
{
	struct transit transit = { .frames = 1, .action = TC_DROP, .slot = slot_of_vf(ctx->ifindex), .ingress = ctx->ifindex };

	carrier_forget_sender(ctx);
	return tc_enter(ctx, &transit);
}

int tc_uplink(carrier *ctx)
{
	struct transit transit = {
		.frames = 1,
		.action = TC_DROP,
		.slot = uplink_slot(),
		.ingress = ctx->ifindex,
		.is_from_wire = 1,
	};

	return tc_enter(ctx, &transit);
}

int tc_flood(carrier *ctx)
{
	return flood(ctx);
}
