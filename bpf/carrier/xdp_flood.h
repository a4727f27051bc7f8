/* SPDX-License-Identifier: GPL-2.0-only */
/* Floods by XDP: from the wire to access ports only. The frame is made as they all want it, then the kernel copies it to each device
 * of the domain's devmap. No program runs on a copy: the kernel's queue of a device takes one program for all that one poll puts
 * into it, so one on floods would meet unicast too. tc floods what is left: from guests, to domains with ports that XDP cannot
 * serve or without a devmap, of PFs whose wire gives guests their own frames back, what the host must hear too, and frames of several buffers, of which the kernel would copy the first only.
 */
#ifndef SXDP_CARRIER_FLOOD_H
#define SXDP_CARRIER_FLOOD_H

#include "carrier/xdp.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/lookup.h"

/* Counts a copy for each port that the domain's devmap holds: the members whose links are up. Returns 0 when there is none. A
 * number of them would be a value of its own for the verifier after each step, and a branch for the kind of copy a way of its own
 * (xdp_flood was 515,000 instructions to Linux 6.1, and is 317,000). */
static __always_inline __u32 count_copies(struct sxdp_cpu *here, const struct sxdp_members *list, const struct transit *transit)
{
	__u64 is_multicast = transit_unknown(transit->frame.destination != SXDP_MAC_BROADCAST, transit->ingress);
	struct sxdp_counters *counted;
	__u32 taken = 0, i;

	for (i = 0; i < SXDP_MAX_MEMBERS && i < list->count; i++) {
		struct sxdp_port *target = port_at(list->slots[i]);

		if (target_judge_copy(port_at(transit->slot), target, 0, transit->vlan) != SXDP_ADMITTED)
			continue;
		counted = count_egress(here, list->slots[i], 1, transit->frame.length_bytes);
		counted->egress_multicast += is_multicast;
		counted->egress_broadcast += 1 - is_multicast;
		taken |= target->flags;
	}
	return taken;
}

/* Group frames of guests are tc's, which has their guards. */
static __always_inline sxdp_answer carrier_guard(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	return SXDP_DEFERRED;
}

/* In a program of its own, which the verifier so looks at once. When that is not there the flood is tc's, as all others are. */
static __always_inline sxdp_answer carrier_flood(carrier *ctx, const struct transit *transit, const struct sxdp_port *port)
{
	if ((port->flags & (SXDP_PORT_NATIVE_XDP | SXDP_PORT_VEPA)) == SXDP_PORT_NATIVE_XDP)
		carrier_jump(ctx, transit, SXDP_STAGE_FLOOD);
	return SXDP_DEFERRED;
}

static __always_inline sxdp_answer flood(carrier *ctx, struct transit *transit, struct sxdp_cpu *here)
{
	struct sxdp_port *port = port_at(transit->slot);
	__u32 domain = (__u32)sxdp_domain(port->pf, transit->vlan);
	struct sxdp_frame *frame = &transit->frame;
	struct sxdp_members *list;
	void *receivers;

	transit->is_sampled = sample_is_under_way(port);
	if (carrier_parse(ctx, transit, port))
		return SXDP_DEFERRED;
	if (vlan_host_hears(port, host_vlans_of(port, transit->slot), transit->vlan))
		return SXDP_DEFERRED;
	frame->length_bytes = carrier_first_bytes(ctx);
	if (bpf_xdp_get_buff_len(ctx) != frame->length_bytes || !target_fits_buffer(frame->length_bytes))
		return SXDP_DEFERRED;
	list = bpf_map_lookup_elem(members_handle(), &domain);
	receivers = bpf_map_lookup_elem(floods_handle(), &domain);
	if (!list || list->of_tc || !receivers || !count_copies(here, list, transit))
		return SXDP_DEFERRED;
	if (carrier_retag(ctx, transit, 0) || bpf_redirect_map(receivers, SXDP_NOBODY, BPF_F_BROADCAST) != XDP_REDIRECT)
		return SXDP_REDIRECT_ERROR;
	count_verdict(here, transit, SXDP_FLOODED);
	count_group(here, transit, frame->destination == SXDP_MAC_BROADCAST);
	return SXDP_COUNTED;
}

#endif
