// SPDX-License-Identifier: GPL-2.0-only
/* The embedded switch. The only file that touches maps, contexts and helpers; every rule it applies is a pure function of
 * a header beside it. bcc rewrites map calls in this file only.
 *
 * Two kinds of program from the same rules: XDP finishes what it can finish alone (known unicast and drops) and leaves
 * the rest to the tc program on the same device (SXDP_DEFERRED); tc finishes everything. Each frame is counted once, at
 * the end of the program that finishes it. Missing entries drop with a verdict; nothing falls through to the host's stack
 * but frames from the wire to the uplink's own address.
 */
#include "abi.h"
#include "admit.h"
#include "fdb.h"
#include "frame.h"
#include "source.h"
#include "target.h"
#include "vlan.h"

BPF_F_TABLE("array", __u32, struct sxdp_ports, ports, 1, SXDP_MMAPABLE);
BPF_F_TABLE("array", __u32, struct sxdp_fdb, fdb, 1, SXDP_MMAPABLE);
BPF_HASH(fdb_overflow, __u64, __u32, SXDP_MAX_FDB_ENTRIES);
BPF_ARRAY(trunks, struct sxdp_trunk, SXDP_MAX_PORTS);
BPF_HASH(members, __u32, struct sxdp_members, SXDP_MAX_VLANS);
BPF_PERCPU_ARRAY(counters, struct sxdp_counters, SXDP_MAX_PORTS);
BPF_DEVMAP(devices, SXDP_MAX_PORTS);
BPF_PROG_ARRAY(stages, 1);          /* 0: tc_flood */

/* The loader puts what is meant in place of these numbers: of the first two, the address of the map's one value, so that the
 * hot path needs no look-up; then the PF's number, of which each uplink has its own copy of the programs, so that it needs no
 * look-up by ifindex whatever ifindex it has; then the offset of net_device.ifindex, from the running kernel's BTF. */
static __always_inline struct sxdp_ports *ports_value(void)
{
	struct sxdp_ports *value;

	asm volatile("%0 = 0x5d8b5d8b5d8b0002 ll" : "=r"(value));
	return value;
}

static __always_inline struct sxdp_fdb *fdb_value(void)
{
	struct sxdp_fdb *value;

	asm volatile("%0 = 0x5d8b5d8b5d8b0003 ll" : "=r"(value));
	return value;
}

static __always_inline __u32 uplink_slot(void)
{
	__u64 slot;

	asm volatile("%0 = 0x5d8b5d8b5d8b0000 ll" : "=r"(slot));
	return (__u32)slot;
}

static __always_inline __u64 ifindex_offset(void)
{
	__u64 offset;

	asm volatile("%0 = 0x5d8b5d8b5d8b0001 ll" : "=r"(offset));
	return offset;
}

enum tc_action {
	TC_PASS = -1,               /* TCX_NEXT, TC_ACT_UNSPEC: whoever follows on the device, then the stack */
	TC_DROP = 2,
	TC_REDIRECT = 7,
};

/* What a flood knows, in skb->cb: it goes along from run to run, and a copy reads it from there, as what is kept in variables
 * over the loop multiplies the verifier's paths. */
enum flood_word {
	FLOOD_SLOT,
	FLOOD_VLAN,
	FLOOD_PROGRESS,
	FLOOD_NEXT,
};

enum flood_progress {
	FLOOD_IS_COPIED = 1 << 0,
	FLOOD_IS_MISMATCHED = 1 << 1,   /* a receiver wants the other tagging */
	FLOOD_IS_RETAGGED = 1 << 2,     /* second round */
	FLOOD_IS_TAGGED = 1 << 3,       /* the frame as it is now */
	FLOOD_IS_BROADCAST = 1 << 4,
};

/* One frame's way through the switch. */
struct transit {
	struct sxdp_frame frame;
	__u32 slot;                 /* where it entered */
	__u32 target_slot;
	__u32 frames;               /* segments of a super-frame, else 1 */
	int action;                 /* the kernel's word for the verdict */
	__u16 vlan;
	__u16 pad0;
};

/* Where it goes. */
struct route {
	struct sxdp_port *target;
	__u32 slot;
};

static __always_inline struct sxdp_port *port_at(__u32 slot)
{
	return &ports_value()->at[slot & SXDP_SLOT_MASK];
}

static __always_inline struct sxdp_trunk *trunk_of(const struct sxdp_port *port, __u32 slot)
{
	return port->flags & SXDP_PORT_TRUNK ? trunks.lookup(&slot) : 0;
}

/* The port of the device that the frame came in by, or NULL. */
static __always_inline struct sxdp_port *port_of(__u32 slot, __u32 ifindex)
{
	struct sxdp_port *port = port_at(slot);

	return port->ifindex == ifindex ? port : 0;
}

static __always_inline __u32 slot_of_vf(__u32 ifindex)
{
	return ifindex & SXDP_SLOT_MASK;
}

/* The place of an address, or 0. */
static __always_inline __u32 fdb_find(__u16 pf, __u16 vlan, __u64 mac)
{
	__u64 key = sxdp_fdb_key(sxdp_domain(pf, vlan), mac);
	__u64 scattered = fdb_scatter(key);
	const __u64 *way = fdb_value()->way[fdb_bucket(scattered)];
	__u32 place, *overflow;
	int is_full = 1, i;

#pragma unroll
	for (i = 0; i < SXDP_FDB_WAYS; i++) {
		place = fdb_match(way[i], scattered);
		if (place)
			return place;
		is_full &= way[i] != 0;
	}
	overflow = is_full ? fdb_overflow.lookup(&key) : 0;
	return overflow ? *overflow : 0;
}

/* Off the fast path: only frames whose source is not the port's own come here. */
static __always_inline enum sxdp_verdict judge_foreign_source(const struct sxdp_port *port, const struct transit *transit)
{
	struct sxdp_port *uplink = port_at(port->pf);
	__u32 owner = fdb_find(port->pf, transit->vlan, transit->frame.source);

	if (!owner && uplink->flags & SXDP_PORT_PF_HAS_TRUNKS)
		owner = fdb_find(port->pf, SXDP_VLAN_TRUNKS, transit->frame.source);
	return source_judge(port, transit->slot, &transit->frame, owner, uplink);
}

static __always_inline enum sxdp_verdict admit(const struct sxdp_port *port, struct transit *transit, int length_fits)
{
	enum sxdp_verdict verdict = admit_frame(&transit->frame, length_fits);

	if (verdict == SXDP_ADMITTED)
		verdict = vlan_admit(port, trunk_of(port, transit->slot), &transit->frame, &transit->vlan);
	if (verdict == SXDP_ADMITTED && source_is_foreign(port, &transit->frame))
		verdict = judge_foreign_source(port, transit);
	return verdict;
}

/* No entry in the frame's VLAN: the host, a trunk port, the uplink, or nobody. */
static __always_inline enum sxdp_verdict route_unknown(const struct sxdp_port *port, const struct transit *transit,
						       struct route *route, __u32 *place)
{
	struct sxdp_port *uplink = port_at(port->pf);
	int from_wire = (port->flags & SXDP_PORT_UPLINK) != 0;

	if (uplink->ifindex && transit->frame.destination == uplink->mac) {
		if (!from_wire)
			return SXDP_TARGET_DENIED;
		return transit->vlan == SXDP_VLAN_NONE ? SXDP_TO_HOST : SXDP_NO_TARGET;
	}
	if (uplink->flags & SXDP_PORT_PF_HAS_TRUNKS)
		*place = fdb_find(port->pf, SXDP_VLAN_TRUNKS, transit->frame.destination);
	if (*place)
		return SXDP_ADMITTED;
	if (from_wire || !uplink->ifindex)
		return SXDP_NO_TARGET;
	route->target = uplink;
	route->slot = port->pf;
	return target_judge(uplink, 0, transit->vlan);
}

static __always_inline enum sxdp_verdict find_route(const struct sxdp_port *port, const struct transit *transit,
						    struct route *route)
{
	__u32 place = fdb_find(port->pf, transit->vlan, transit->frame.destination);
	enum sxdp_verdict verdict;

	if (!place) {
		verdict = route_unknown(port, transit, route, &place);
		if (!place)
			return verdict;
	}
	route->slot = fdb_slot(place);
	if (route->slot == transit->slot)
		return SXDP_HAIRPIN;
	route->target = port_at(route->slot);
	if (!target_is_current(route->target, route->slot, place))
		return SXDP_NO_TARGET;
	return target_judge(route->target, trunk_of(route->target, route->slot), transit->vlan);
}

/* Frames that left by a port: an amount of them, of one reach. */
static __always_inline void count_egress(__u32 slot, __u32 frames, __u32 bytes, enum sxdp_reach reach, int has_failed)
{
	struct sxdp_counters *counted = counters.lookup(&slot);

	if (!counted)
		return;
	counted->egress_frames += frames;
	counted->egress_bytes += bytes;
	counted->egress_errors += has_failed ? frames : 0;
	if (reach != SXDP_UNICAST)
		*(reach == SXDP_BROADCAST ? &counted->egress_broadcast : &counted->egress_multicast) += frames;
}

/* The one exit of every program. Softirq context: the per-CPU block needs no atomic operation. */
static __always_inline int finish(const struct transit *transit, enum sxdp_verdict verdict)
{
	__u32 slot = transit->slot;
	struct sxdp_counters *counted;

	if (verdict >= SXDP_VERDICTS)
		return transit->action;
	counted = counters.lookup(&slot);
	if (!counted)
		return transit->action;
	counted->verdict[verdict] += transit->frames;
	if (verdict > SXDP_FLOODED)
		return transit->action;
	counted->ingress_bytes += transit->frame.length_bytes;
	if (verdict == SXDP_FORWARDED)
		count_egress(transit->target_slot, transit->frames, transit->frame.length_bytes, SXDP_UNICAST, 0);
	else if (transit->frame.destination == SXDP_MAC_BROADCAST)
		counted->ingress_broadcast += transit->frames;
	else
		counted->ingress_multicast += transit->frames;
	return transit->action;
}

/* ---- XDP ---- */

/* Makes the frame's tag what the target wants. A tag that stays keeps its priority bits. */
static __always_inline int xdp_retag(struct xdp_md *ctx, const struct transit *transit, int tagged)
{
	if (tagged == (transit->frame.tpid != 0))
		return 0;
	if (!tagged) {
		if (frame_close_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end))
			return -1;
		return bpf_xdp_adjust_head(ctx, SXDP_TAG_BYTES);
	}
	if (bpf_xdp_adjust_head(ctx, -SXDP_TAG_BYTES))
		return -1;
	return frame_open_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end, transit->vlan);
}

static __always_inline enum sxdp_verdict xdp_forward(struct xdp_md *ctx, struct transit *transit,
						     const struct route *route)
{
	if (xdp_retag(ctx, transit, vlan_leaves_tagged(route->target, transit->vlan)))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	transit->action = devices.redirect_map(transit->target_slot, XDP_DROP);
	return transit->action == XDP_REDIRECT ? SXDP_FORWARDED : SXDP_REDIRECT_ERROR;
}

static __always_inline enum sxdp_verdict xdp_leave_to_tc(struct transit *transit)
{
	transit->action = XDP_PASS;
	return SXDP_DEFERRED;
}

static __always_inline enum sxdp_verdict xdp_switch(struct xdp_md *ctx, struct transit *transit,
						    const struct sxdp_port *port)
{
	enum sxdp_verdict verdict = admit_port(port);
	struct route route = {};

	if (verdict != SXDP_ADMITTED || !port)
		return verdict;
	transit->frame.length_bytes = port->flags & SXDP_PORT_JUMBO ? (__u32)bpf_xdp_get_buff_len(ctx) :
								      (__u32)(ctx->data_end - ctx->data);
	if (frame_parse(&transit->frame, (void *)(long)ctx->data, (void *)(long)ctx->data_end, 0, 0))
		return SXDP_MALFORMED;
	verdict = admit(port, transit, admit_length_fits(port, &transit->frame));
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (frame_is_multicast(transit->frame.destination))
		return xdp_leave_to_tc(transit);
	verdict = find_route(port, transit, &route);
	if (verdict == SXDP_TO_HOST)
		return xdp_leave_to_tc(transit);
	if (verdict != SXDP_ADMITTED || !route.target)
		return verdict;
	return xdp_forward(ctx, transit, &route);
}

int xdp_vf(struct xdp_md *ctx)
{
	__u32 slot = slot_of_vf(ctx->ingress_ifindex);
	struct transit transit = { .frames = 1, .action = XDP_DROP, .slot = slot };

	return finish(&transit, xdp_switch(ctx, &transit, port_of(slot, ctx->ingress_ifindex)));
}

int xdp_uplink(struct xdp_md *ctx)
{
	__u32 slot = uplink_slot();
	struct transit transit = { .frames = 1, .action = XDP_DROP, .slot = slot };

	return finish(&transit, xdp_switch(ctx, &transit, port_of(slot, ctx->ingress_ifindex)));
}

/* ---- tc ---- */

static __always_inline int tc_retag(struct __sk_buff *skb, const struct transit *transit, int tagged)
{
	if (tagged == (transit->frame.tpid != 0))
		return 0;
	if (!tagged)
		return bpf_skb_vlan_pop(skb);
	return bpf_skb_vlan_push(skb, __builtin_bswap16(SXDP_TPID_8021Q), transit->vlan);
}

static __always_inline enum sxdp_verdict tc_forward(struct __sk_buff *skb, struct transit *transit,
						    const struct route *route)
{
	if (tc_retag(skb, transit, vlan_leaves_tagged(route->target, transit->vlan)))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	if (route->target->flags & SXDP_PORT_NO_CARRIER)
		return bpf_clone_redirect(skb, route->target->ifindex, 0) ? SXDP_REDIRECT_ERROR : SXDP_FORWARDED;
	if (route->target->flags & SXDP_PORT_PEER)
		transit->action = bpf_redirect_peer(route->target->ifindex, 0);
	else
		transit->action = bpf_redirect(route->target->ifindex, 0);
	if (transit->action == TC_REDIRECT)
		return SXDP_FORWARDED;
	transit->action = TC_DROP;
	return SXDP_REDIRECT_ERROR;
}

static __always_inline __u32 tc_frames(const struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

static __always_inline int tc_parse(struct __sk_buff *skb, struct transit *transit)
{
	__u16 tpid = skb->vlan_present ? __builtin_bswap16((__u16)skb->vlan_proto) : 0;
	__u32 needed = SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES;

	if ((void *)(long)skb->data + needed > (void *)(long)skb->data_end && skb->len >= needed &&
	    bpf_skb_pull_data(skb, needed))
		return -1;
	transit->frame.length_bytes = skb->len;
	transit->frames = tc_frames(skb);
	return frame_parse(&transit->frame, (void *)(long)skb->data, (void *)(long)skb->data_end, tpid,
			   (__u16)skb->vlan_tci);
}

/* A super-frame is as long as its segments; the kernel knows how to measure them against a device's MTU. */
static __always_inline int tc_length_fits(struct __sk_buff *skb, const struct sxdp_port *port,
					  const struct transit *transit)
{
	__u32 mtu_bytes = 0;

	if (!skb->gso_size)
		return admit_length_fits(port, &transit->frame);
	return !bpf_check_mtu(skb, 0, &mtu_bytes, 0, BPF_MTU_CHK_SEGS);
}

/* Flooding is a program of its own that calls itself for every SXDP_FLOOD_CHUNK receivers: one loop over all of them is too
 * much for the verifier. First the receivers that take the frame as it is, then, with the tag changed once, the others.
 * Comes back only when the jump failed. */
static __always_inline enum sxdp_verdict tc_flood_from(struct __sk_buff *skb, __u32 next)
{
	skb->cb[FLOOD_NEXT] = next;
	stages.call(skb, 0);
	return SXDP_REDIRECT_ERROR;
}

static __always_inline enum sxdp_verdict tc_start_flood(struct __sk_buff *skb, const struct transit *transit)
{
	skb->cb[FLOOD_SLOT] = transit->slot;
	skb->cb[FLOOD_VLAN] = transit->vlan;
	skb->cb[FLOOD_PROGRESS] = (transit->frame.tpid ? FLOOD_IS_TAGGED : 0) |
				  (transit->frame.destination == SXDP_MAC_BROADCAST ? FLOOD_IS_BROADCAST : 0);
	return tc_flood_from(skb, 0);
}

static __always_inline void tc_copy_to(struct __sk_buff *skb, __u32 slot)
{
	struct sxdp_port *target = port_at(slot);
	__u32 vlan = skb->cb[FLOOD_VLAN] & SXDP_VLAN_MASK;
	__u32 progress = skb->cb[FLOOD_PROGRESS];
	int has_failed;

	if (!target->ifindex || slot == skb->cb[FLOOD_SLOT])
		return;
	if (target_judge(target, trunk_of(target, slot), (__u16)vlan) != SXDP_ADMITTED)
		return;
	if (vlan_leaves_tagged(target, (__u16)vlan) != ((progress & FLOOD_IS_TAGGED) != 0)) {
		skb->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_MISMATCHED;
		return;
	}
	has_failed = bpf_clone_redirect(skb, target->ifindex, 0) != 0;
	count_egress(slot, tc_frames(skb), skb->len,
		     progress & FLOOD_IS_BROADCAST ? SXDP_BROADCAST : SXDP_MULTICAST, has_failed);
	skb->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_COPIED;
}

/* Returns where the next chunk starts. The empty asm keeps the compiler from proving the mask away, which the verifier
 * needs to see. */
static __always_inline __u32 tc_copy_to_chunk(struct __sk_buff *skb, const struct sxdp_members *list, __u32 next)
{
	__u32 i;

	asm volatile("" : "+r"(next));
	next &= SXDP_MAX_MEMBERS - 1;
	for (i = 0; i < SXDP_FLOOD_CHUNK; i++) {
		if (next + i >= list->count)
			break;
		tc_copy_to(skb, list->slots[next + i]);
	}
	return next + SXDP_FLOOD_CHUNK;
}

static __always_inline enum sxdp_verdict tc_flood_some(struct __sk_buff *skb, struct transit *transit,
						       const struct sxdp_port *port, __u32 next)
{
	__u32 domain = sxdp_domain(port->pf, transit->vlan);
	struct sxdp_members *list = members.lookup(&domain);

	if (!list) {
		domain = sxdp_domain(port->pf, SXDP_VLAN_TRUNKS);
		list = members.lookup(&domain);
	}
	if (port->flags & SXDP_PORT_HOST_STACK && transit->vlan == SXDP_VLAN_NONE)
		transit->action = TC_PASS;
	if (next == 0)
		tc_copy_to(skb, port->pf);
	if (list && next < SXDP_MAX_MEMBERS) {
		next = tc_copy_to_chunk(skb, list, next);
		if (next < list->count && next < SXDP_MAX_MEMBERS)
			return tc_flood_from(skb, next);
	}
	if ((skb->cb[FLOOD_PROGRESS] & (FLOOD_IS_MISMATCHED | FLOOD_IS_RETAGGED)) == FLOOD_IS_MISMATCHED) {
		if (tc_retag(skb, transit, transit->frame.tpid == 0))
			return SXDP_REDIRECT_ERROR;
		skb->cb[FLOOD_PROGRESS] = (skb->cb[FLOOD_PROGRESS] | FLOOD_IS_RETAGGED) ^ FLOOD_IS_TAGGED;
		return tc_flood_from(skb, 0);
	}
	return skb->cb[FLOOD_PROGRESS] & FLOOD_IS_COPIED || transit->action == TC_PASS ? SXDP_FLOODED : SXDP_NO_TARGET;
}

int tc_flood(struct __sk_buff *skb)
{
	struct transit transit = { .frames = 1, .action = TC_DROP };

	transit.slot = skb->cb[FLOOD_SLOT] & SXDP_SLOT_MASK;
	transit.vlan = skb->cb[FLOOD_VLAN] & SXDP_VLAN_MASK;
	if (tc_parse(skb, &transit))
		return finish(&transit, SXDP_MALFORMED);
	return finish(&transit, tc_flood_some(skb, &transit, port_at(transit.slot), skb->cb[FLOOD_NEXT]));
}

static __always_inline enum sxdp_verdict tc_switch(struct __sk_buff *skb, struct transit *transit,
						   const struct sxdp_port *port)
{
	enum sxdp_verdict verdict = admit_port(port);
	struct route route = {};

	if (verdict != SXDP_ADMITTED || !port)
		return verdict;
	if (tc_parse(skb, transit))
		return SXDP_MALFORMED;
	verdict = admit(port, transit, tc_length_fits(skb, port, transit));
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (frame_is_multicast(transit->frame.destination))
		return tc_start_flood(skb, transit);
	verdict = find_route(port, transit, &route);
	if (verdict == SXDP_TO_HOST)
		transit->action = TC_PASS;
	if (verdict != SXDP_ADMITTED || !route.target)
		return verdict;
	return tc_forward(skb, transit, &route);
}

int tc_vf(struct __sk_buff *skb)
{
	__u32 slot = slot_of_vf(skb->ifindex);
	struct transit transit = { .frames = 1, .action = TC_DROP, .slot = slot };

	return finish(&transit, tc_switch(skb, &transit, port_of(slot, skb->ifindex)));
}

int tc_uplink(struct __sk_buff *skb)
{
	__u32 slot = uplink_slot();
	struct transit transit = { .frames = 1, .action = TC_DROP, .slot = slot };

	return finish(&transit, tc_switch(skb, &transit, port_of(slot, skb->ifindex)));
}

/* ---- what devices did not take ---- */

static __always_inline void count_egress_errors(__u32 slot, __u64 frames)
{
	struct sxdp_counters *counted = counters.lookup(&slot);

	if (counted)
		counted->egress_errors += frames;
}

static __always_inline __u32 read_ifindex(__u64 net_device)
{
	__u32 ifindex = 0;

	bpf_probe_read_kernel(&ifindex, sizeof(ifindex), (void *)(long)(net_device + ifindex_offset()));
	return ifindex;
}

static __always_inline int slot_has(__u32 slot, __u32 ifindex)
{
	return ifindex && port_at(slot)->ifindex == ifindex;
}

/* An XDP redirect is only an intention: the device may refuse at the end of the batch. Tracepoint xdp_devmap_xmit:
 * from_dev, to_dev, sent, drops, err. Fires for every batch on the host, so it leaves at once when nothing was lost. */
int on_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 drops = (__u32)ctx->args[3];
	__u32 slot;
	__u32 ifindex;

	if (!drops)
		return 0;
	ifindex = read_ifindex(ctx->args[1]);
	slot = slot_of_vf(ifindex);
	if (slot >= SXDP_FIRST_VF_SLOT && slot_has(slot, ifindex)) {
		count_egress_errors(slot, drops);
		return 0;
	}
	for (slot = 0; slot < SXDP_MAX_PFS; slot++) {
		if (slot_has(slot, ifindex))
			count_egress_errors(slot, drops);
	}
	return 0;
}

/* The target was refused before any batch. Tracepoint xdp_redirect_err: dev, prog, target, err, map type, map id, index;
 * the index is the target's slot when the frame came from one of our ports. */
int on_redirect_error(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 ifindex = read_ifindex(ctx->args[0]);
	__u32 slot;

	if (slot_has(slot_of_vf(ifindex), ifindex)) {
		count_egress_errors((__u32)ctx->args[6], 1);
		return 0;
	}
	for (slot = 0; slot < SXDP_MAX_PFS; slot++) {
		if (slot_has(slot, ifindex))
			count_egress_errors((__u32)ctx->args[6], 1);
	}
	return 0;
}
