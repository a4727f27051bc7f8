// SPDX-License-Identifier: GPL-2.0-only
/* What devices did not take: tracepoints of the kernel's XDP redirects, which are only an intention when a program ends. Both fire for
 * everybody's devices. */
#include "switch/count.h"
#include "switch/lookup.h"

static __always_inline void count_egress_errors(__u64 slot, __u64 frames)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		counters_of(here, slot)->egress_errors += frames;
}

/* What could not be queued: unicast is the target's loss; copies of a flood, of which nobody knows whose they were, are counted
 * where the frame entered. */
static __always_inline void count_redirect_error(__u64 slot, __u64 target)
{
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return;
	if (target == SXDP_NOBODY)
		counters_of(here, slot)->verdict[SXDP_REDIRECT_ERROR]++;
	else
		counters_of(here, target)->egress_errors++;
}

static __always_inline __u32 read_ifindex(__u64 net_device)
{
	__u32 ifindex = 0;

	bpf_probe_read_kernel(&ifindex, sizeof(ifindex), (void *)(long)(net_device + ifindex_offset()));
	return ifindex;
}

static __always_inline int slot_has(__u64 slot, __u32 ifindex)
{
	return ifindex && port_at(slot)->ifindex == ifindex;
}

/* The slot of a device, or SXDP_NOBODY. Uplinks have ifindexes of others' choice. */
static __always_inline __u64 slot_with(__u32 ifindex)
{
	__u64 slot = slot_of_vf(ifindex);

	if (slot >= SXDP_FIRST_VF_SLOT && slot_has(slot, ifindex))
		return slot;
	for (slot = 0; slot < SXDP_MAX_PFS; slot++) {
		if (slot_has(slot, ifindex))
			return slot;
	}
	return SXDP_NOBODY;
}

/* The device may refuse at the end of the batch. Tracepoint xdp_devmap_xmit: from_dev, to_dev, sent, drops, err. Fires for every
 * batch on the host, so it leaves at once when nothing was lost. */
int on_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 drops = (__u32)ctx->args[3];
	__u64 slot;

	if (!drops)
		return 0;
	slot = slot_with(read_ifindex(ctx->args[1]));
	if (slot != SXDP_NOBODY)
		count_egress_errors(slot, drops);
	return 0;
}

/* The target was refused before any batch. Tracepoint xdp_redirect_err: dev, prog, target, err, map type, map id, index;
 * the index is the target's slot, or SXDP_NOBODY, when the frame came from one of our ports. */
int on_redirect_error(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 slot = slot_with(read_ifindex(ctx->args[0]));

	if (slot != SXDP_NOBODY)
		count_redirect_error(slot, (__u32)ctx->args[6]);
	return 0;
}
