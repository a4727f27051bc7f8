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
#include "flow.h"
#include "frame.h"
#include "guard.h"
#include "loop.h"
#include "source.h"
#include "target.h"
#include "vlan.h"

BPF_HASH(fdb_overflow, __u64, __u32, SXDP_MAX_FDB_ENTRIES);
BPF_ARRAY(trunks, struct sxdp_trunk, SXDP_MAX_PORTS);
BPF_ARRAY(guards, struct sxdp_guard, SXDP_MAX_PORTS);
BPF_ARRAY(loops, struct sxdp_return, SXDP_MAX_PORTS);
BPF_HASH(members, __u32, struct sxdp_members, SXDP_MAX_VLANS);
BPF_DEVMAP(devices, SXDP_MAX_PORTS);
BPF_PROG_ARRAY(tc_stages, 1);       /* 0: tc_flood */
BPF_PROG_ARRAY(xdp_stages, 1);      /* 0: xdp_flood */

/* The loader puts what is meant in place of these numbers.
 *
 * Four maps are the loader's own. Three are user space's memory too: ports and the forwarding database, of which the programs
 * know the address of the one value, so that the hot path needs no look-up; and the counters, one element a CPU. The fourth has
 * a devmap for each domain that is flooded by XDP. */
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

static __always_inline void *counters_map(void)
{
	void *map;

	asm volatile("%0 = 0x5d8b5d8b5d8b0004 ll" : "=r"(map));
	return map;
}

static __always_inline void *floods_map(void)
{
	void *map;

	asm volatile("%0 = 0x5d8b5d8b5d8b0005 ll" : "=r"(map));
	return map;
}

/* The PF's number: each uplink has its own copy of the programs, so that it needs no look-up by ifindex, whatever ifindex it
 * has. */
static __always_inline __u32 uplink_slot(void)
{
	__u64 slot;

	asm volatile("%0 = 0x5d8b5d8b5d8b0000 ll" : "=r"(slot));
	return (__u32)slot;
}

/* Of net_device.ifindex, from the running kernel's BTF. */
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

enum tc_segment {
	TC_MOST_HEADER_BYTES = 192, /* Ethernet, a tag, IPv6 with some extensions, TCP with all options */
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
	__u64 slot;                 /* where it entered */
	int is_from_wire;           /* each program knows it, so that a guest's frame meets no rule of the wire's in its bytecode */
	__u64 ingress;              /* the same for the flow cache */
	__u64 target_slot;
	__u64 frames;               /* segments of a super-frame, else 1 */
	__u64 vlan;
	int action;                 /* the kernel's word for the verdict */
};

/* The rules are compiled twice into an XDP program. The short way is what is left of them for a frame that enters and leaves
 * without a tag, by ports without special settings, from its port's own address: most frames. It answers SXDP_UNDECIDED as
 * soon as a frame turns out to be another, and the long way decides from the start. */
enum way {
	SHORT_WAY,
	LONG_WAY,
};

enum fdb_answer {
	FDB_UNDECIDED = 1 << SXDP_PLACE_BITS,  /* above all places */
};

enum slot_of_nobody {
	NO_SLOT = SXDP_MAX_PORTS,
};

/* Where it goes. */
struct route {
	struct sxdp_port *target;
	__u64 slot;
};

/* The empty asm keeps the compiler from computing the address anew at each access. */
static __always_inline struct sxdp_port *port_at(__u64 slot)
{
	struct sxdp_port *port = &ports_value()->at[slot & SXDP_SLOT_MASK];

	asm volatile("" : "+r"(port));
	return port;
}

static __always_inline struct sxdp_trunk *trunk_of(const struct sxdp_port *port, __u64 slot)
{
	__u32 key = (__u32)slot;

	return port->flags & SXDP_PORT_TRUNK ? trunks.lookup(&key) : 0;
}

static __always_inline __u64 slot_of_vf(__u64 ifindex)
{
	return ifindex & SXDP_SLOT_MASK;
}

/* The place of an address, or 0. The short way asks the table only, and says FDB_UNDECIDED when that is not enough. */
static __always_inline __u64 fdb_find(__u64 pf, __u64 vlan, __u64 mac, enum way way)
{
	__u64 key = sxdp_fdb_key(sxdp_domain(pf, vlan), mac);
	__u64 scattered = fdb_scatter(key);
	const __u64 *words = fdb_value()->way[fdb_bucket(scattered)];
	__u32 *overflow;
	int i;

#pragma unroll
	for (i = 0; i < SXDP_FDB_WAYS; i++) {
		__u64 place = fdb_match(words[i], scattered);

		if (place)
			return place;
	}
	if (!words[0] || !words[1] || !words[2] || !words[3])
		return 0;
	if (way == SHORT_WAY)
		return FDB_UNDECIDED;
	overflow = fdb_overflow.lookup(&key);
	return overflow ? *overflow : 0;
}

/* Off the fast path: only frames whose source is not the port's own come here. */
static __always_inline enum sxdp_verdict judge_foreign_source(const struct sxdp_port *port, const struct transit *transit)
{
	struct sxdp_port *uplink = port_at(port->pf);
	__u64 owner = fdb_find(port->pf, transit->vlan, transit->frame.source, LONG_WAY);

	if (!owner && uplink->flags & SXDP_PORT_PF_HAS_TRUNKS)
		owner = fdb_find(port->pf, SXDP_VLAN_TRUNKS, transit->frame.source, LONG_WAY);
	return source_judge(port, transit->slot, &transit->frame, owner, uplink);
}

static __always_inline enum sxdp_verdict judge_source_from_wire(const struct sxdp_port *uplink, const struct transit *transit,
								enum way way)
{
	__u64 owner = fdb_find(uplink->pf, transit->vlan, transit->frame.source, way);

	if (!owner && uplink->flags & SXDP_PORT_PF_HAS_TRUNKS)
		owner = fdb_find(uplink->pf, SXDP_VLAN_TRUNKS, transit->frame.source, way);
	if (way == SHORT_WAY && owner == FDB_UNDECIDED)
		return SXDP_UNDECIDED;
	return source_judge_from_wire(uplink, &transit->frame, owner);
}

/* The short way needs no look at probes, as it leaves all group frames. */
static __always_inline enum sxdp_verdict admit(const struct sxdp_port *port, const struct sxdp_trunk *trunk,
					       struct transit *transit, int length_fits, enum way way)
{
	enum sxdp_verdict verdict = admit_frame(&transit->frame, length_fits);

	if (verdict == SXDP_ADMITTED)
		verdict = vlan_admit(port, trunk, &transit->frame, &transit->vlan);
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (transit->is_from_wire)
		return source_is_judged_from_wire(port) ? judge_source_from_wire(port, transit, way) : SXDP_ADMITTED;
	if (way == LONG_WAY && loop_is_probe(&transit->frame))
		return SXDP_LOOP;
	if (source_is_foreign(port, &transit->frame))
		return way == SHORT_WAY ? SXDP_UNDECIDED : judge_foreign_source(port, transit);
	return SXDP_ADMITTED;
}

/* No entry in the frame's VLAN: the host, a trunk port, the uplink, or nobody. */
static __always_inline enum sxdp_verdict route_unknown(const struct sxdp_port *port, const struct transit *transit,
						       struct route *route, __u64 *place, enum way way)
{
	struct sxdp_port *uplink = port_at(port->pf);

	if (uplink->ifindex && transit->frame.destination == uplink->mac) {
		if (!transit->is_from_wire)
			return SXDP_TARGET_DENIED;
		return transit->vlan == SXDP_VLAN_NONE ? SXDP_TO_HOST : SXDP_NO_TARGET;
	}
	if (uplink->flags & SXDP_PORT_PF_HAS_TRUNKS) {
		if (way == SHORT_WAY)
			return SXDP_UNDECIDED;
		*place = fdb_find(port->pf, SXDP_VLAN_TRUNKS, transit->frame.destination, LONG_WAY);
	}
	if (*place)
		return SXDP_ADMITTED;
	if (transit->is_from_wire || !uplink->ifindex)
		return SXDP_NO_TARGET;
	route->target = uplink;
	route->slot = port->pf;
	return target_judge(uplink, 0, transit->vlan);
}

static __always_inline enum sxdp_verdict find_route(const struct sxdp_port *port, const struct transit *transit,
						    struct route *route, enum way way)
{
	__u64 place = fdb_find(port->pf, transit->vlan, transit->frame.destination, way);
	enum sxdp_verdict verdict;

	if (way == SHORT_WAY && place == FDB_UNDECIDED)
		return SXDP_UNDECIDED;
	if (!place) {
		verdict = route_unknown(port, transit, route, &place, way);
		if (!place)
			return verdict;
	}
	route->slot = fdb_slot(place);
	if (route->slot == transit->slot)
		return SXDP_HAIRPIN;
	route->target = port_at(route->slot);
	if (!target_is_current(route->target, place))
		return SXDP_NO_TARGET;
	if (way == SHORT_WAY && route->target->flags & SXDP_PORT_TRUNK)
		return SXDP_UNDECIDED;
	return target_judge(route->target, way == SHORT_WAY ? 0 : trunk_of(route->target, route->slot), transit->vlan);
}

/* Softirq context: no other program writes what this CPU counts, so there is no need of atomic operations. */
static __always_inline struct sxdp_cpu *this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(counters_map(), &cpu);
}

static __always_inline struct sxdp_counters *count_egress(struct sxdp_cpu *here, __u64 slot, __u64 frames, __u64 bytes)
{
	struct sxdp_counters *counted = &here->of[slot & SXDP_SLOT_MASK];

	counted->egress_frames += frames;
	counted->egress_bytes += bytes;
	return counted;
}

static __always_inline void count_verdict(struct sxdp_cpu *here, const struct transit *transit,
					  enum sxdp_verdict verdict)
{
	struct sxdp_counters *counted = &here->of[transit->slot & SXDP_SLOT_MASK];

	counted->verdict[verdict] += transit->frames;
	if (verdict <= SXDP_FLOODED)
		counted->ingress_bytes += transit->frame.length_bytes;
}

static __always_inline void count_group(struct sxdp_cpu *here, const struct transit *transit, int is_broadcast)
{
	struct sxdp_counters *counted = &here->of[transit->slot & SXDP_SLOT_MASK];

	*(is_broadcast ? &counted->ingress_broadcast : &counted->ingress_multicast) += transit->frames;
}

static __always_inline void count_copy(struct sxdp_counters *counted, __u64 frames, int is_broadcast)
{
	*(is_broadcast ? &counted->egress_broadcast : &counted->egress_multicast) += frames;
}

static __always_inline void count_forwarded_here(struct sxdp_cpu *here, const struct transit *transit)
{
	count_verdict(here, transit, SXDP_FORWARDED);
	count_egress(here, transit->target_slot, transit->frames, transit->frame.length_bytes);
}

/* A frame that left by its target. Counted here, not at the program's exit, which so needs to know nothing but a verdict. */
static __always_inline enum sxdp_verdict count_forwarded(const struct transit *transit)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		count_forwarded_here(here, transit);
	return SXDP_COUNTED;
}

static __always_inline void count_finished(const struct transit *transit, enum sxdp_verdict verdict)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		count_verdict(here, transit, verdict);
}

/* ---- XDP ---- */

/* All of the frame, unless it is a multi-buffer one. */
static __always_inline __u64 xdp_first_buffer_bytes(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end - (void *)(long)ctx->data;
}

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
	return frame_open_tag((void *)(long)ctx->data, (void *)(long)ctx->data_end, (__u16)transit->vlan);
}

static __always_inline enum sxdp_verdict xdp_forward(struct xdp_md *ctx, struct transit *transit,
						     const struct route *route, int leaves_tagged)
{
	if (xdp_retag(ctx, transit, leaves_tagged))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	if (devices.redirect_map((__u32)transit->target_slot, XDP_DROP) != XDP_REDIRECT)
		return SXDP_REDIRECT_ERROR;
	return count_forwarded(transit);
}

/* Counts a copy for each port that the domain's devmap holds: the members whose links are up. Returns 0 when there is none. A
 * number of them would be a value of its own for the verifier after each step. */
static __always_inline __u32 xdp_count_copies(struct sxdp_cpu *here, const struct sxdp_members *list,
					      const struct transit *transit)
{
	int is_broadcast = transit->frame.destination == SXDP_MAC_BROADCAST;
	__u32 taken = 0, i;

	for (i = 0; i < SXDP_MAX_MEMBERS && i < list->count; i++) {
		struct sxdp_port *target = port_at(list->slots[i]);

		if (target_judge_copy(target, 0, transit->vlan) != SXDP_ADMITTED)
			continue;
		count_copy(count_egress(here, list->slots[i], 1, transit->frame.length_bytes), 1, is_broadcast);
		taken |= target->flags;
	}
	return taken;
}

/* To the program xdp_flood, which the verifier so looks at once, not in each uplink's copy. Comes back only when the jump failed;
 * then the flood is tc's, as are those from guests. */
static __always_inline enum sxdp_verdict xdp_start_flood(struct xdp_md *ctx, const struct transit *transit,
							 const struct sxdp_port *port)
{
	struct sxdp_cpu *here = this_cpu();

	if (!here || !(port->flags & SXDP_PORT_NATIVE_XDP))
		return SXDP_DEFERRED;
	here->flood_slot = (__u32)transit->slot;
	here->flood_vlan = (__u32)transit->vlan;
	xdp_stages.call(ctx, 0);
	return SXDP_DEFERRED;
}

static __always_inline enum sxdp_verdict xdp_decide(struct xdp_md *ctx, struct transit *transit,
						    const struct sxdp_port *port, const struct sxdp_trunk *trunk,
						    enum way way)
{
	enum sxdp_verdict verdict = admit(port, trunk, transit, admit_length_fits(port, &transit->frame), way);
	struct route route = {};
	int leaves_tagged;

	if (verdict == SXDP_LOOP && !transit->is_from_wire)
		return SXDP_DEFERRED;   /* a probe, which tc notes */
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (frame_is_multicast(transit->frame.destination))
		return way == SHORT_WAY ? SXDP_UNDECIDED : xdp_start_flood(ctx, transit, port);
	verdict = find_route(port, transit, &route, way);
	if (verdict == SXDP_TO_HOST)
		return SXDP_DEFERRED;
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (way == LONG_WAY && !target_takes(route.target, transit->frame.length_bytes))
		return SXDP_OVERSIZE;
	if ((route.target->flags & (SXDP_PORT_UPLINK | SXDP_PORT_NATIVE_XDP)) == SXDP_PORT_UPLINK)
		return SXDP_DEFERRED;
	leaves_tagged = vlan_leaves_tagged(route.target, transit->vlan);
	if (way == SHORT_WAY && leaves_tagged)
		return SXDP_UNDECIDED;
	return xdp_forward(ctx, transit, &route, leaves_tagged);
}

/* Read before any table, and never kept from an earlier read. */
static __always_inline __u64 epoch_now(void)
{
	return *(volatile __u64 *)&ports_value()->epoch;
}

/* The frame's place in this CPU's flow cache, and its key but for the epoch. 0 when the header is cut off. */
static __always_inline struct sxdp_flow *xdp_flow(struct xdp_md *ctx, struct sxdp_cpu *here, struct sxdp_flow_key *key)
{
	struct sxdp_flow *flow;

	if (frame_ends((void *)(long)ctx->data, (void *)(long)ctx->data_end, &key->head, &key->tail))
		return 0;
	flow = &here->flows[flow_index(key)];
	asm volatile("" : "+r"(flow));
	return flow;
}

/* As the last frame of its flow, without a look at the rules; SXDP_UNDECIDED when there was none. */
static __always_inline enum sxdp_verdict xdp_follow(struct xdp_md *ctx, struct transit *transit)
{
	struct sxdp_flow_key key = { .epoch = epoch_now(), .ingress = transit->ingress };
	struct sxdp_cpu *here = this_cpu();
	struct sxdp_flow *flow;

	if (!here)
		return SXDP_UNDECIDED;
	flow = xdp_flow(ctx, here, &key);
	transit->frame.length_bytes = xdp_first_buffer_bytes(ctx);
	if (!flow || !flow_matches(flow, &key, transit->frame.length_bytes))
		return SXDP_UNDECIDED;
	transit->target_slot = flow->target_slot;
	if (devices.redirect_map((__u32)transit->target_slot, XDP_DROP) != XDP_REDIRECT)
		return SXDP_REDIRECT_ERROR;
	count_forwarded_here(here, transit);
	return SXDP_COUNTED;
}

/* After the short way forwarded a frame, which is as it came. Its key is made again: kept over the rules, it would cost every
 * frame registers. epoch: of before the rules. */
static __always_inline void xdp_learn(struct xdp_md *ctx, const struct transit *transit, const struct sxdp_port *port, __u64 epoch)
{
	struct sxdp_flow_key key = { .epoch = epoch, .ingress = transit->ingress };
	struct sxdp_cpu *here = this_cpu();
	struct sxdp_flow *flow;

	if (!here || !epoch)
		return;
	flow = xdp_flow(ctx, here, &key);
	if (flow)
		flow_learn(flow, &key, SXDP_ETH_HEADER_BYTES + port->mtu_bytes, transit->target_slot);
}

static __always_inline enum sxdp_verdict xdp_judge(struct xdp_md *ctx, struct transit *transit)
{
	const void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u64 epoch = epoch_now();
	struct sxdp_port *port = port_at(transit->slot);
	enum sxdp_verdict verdict = admit_port(port, ctx->ingress_ifindex);
	struct sxdp_frame *frame = &transit->frame;

	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (frame_parse(frame, data, data_end))
		return SXDP_MALFORMED;
	frame->length_bytes = xdp_first_buffer_bytes(ctx);
	if (!frame_is_tag(frame->type) && !(port->flags & (SXDP_PORT_JUMBO | SXDP_PORT_TRUNK))) {
		verdict = xdp_decide(ctx, transit, port, 0, SHORT_WAY);
		if (verdict == SXDP_COUNTED)
			xdp_learn(ctx, transit, port, epoch);
		if (verdict != SXDP_UNDECIDED)
			return verdict;
	}
	if (frame_is_tag(frame->type) && frame_parse_tag(frame, data, data_end))
		return SXDP_MALFORMED;
	if (port->flags & SXDP_PORT_JUMBO)
		frame->length_bytes = bpf_xdp_get_buff_len(ctx);
	return xdp_decide(ctx, transit, port, trunk_of(port, transit->slot), LONG_WAY);
}

static __always_inline enum sxdp_verdict xdp_switch(struct xdp_md *ctx, struct transit *transit)
{
	enum sxdp_verdict verdict = xdp_follow(ctx, transit);

	return verdict == SXDP_UNDECIDED ? xdp_judge(ctx, transit) : verdict;
}

/* The one exit of every XDP program. */
static __always_inline int xdp_finish(const struct transit *transit, enum sxdp_verdict verdict)
{
	if (verdict == SXDP_COUNTED)
		return XDP_REDIRECT;
	if (verdict == SXDP_DEFERRED)
		return XDP_PASS;
	count_finished(transit, verdict);
	return XDP_DROP;
}

int xdp_vf(struct xdp_md *ctx)
{
	struct transit transit = { .frames = 1, .slot = slot_of_vf(ctx->ingress_ifindex), .ingress = ctx->ingress_ifindex };

	return xdp_finish(&transit, xdp_switch(ctx, &transit));
}

int xdp_uplink(struct xdp_md *ctx)
{
	struct transit transit = {
		.frames = 1,
		.slot = uplink_slot(),
		.ingress = ctx->ingress_ifindex,
		.is_from_wire = 1,
	};

	return xdp_finish(&transit, xdp_switch(ctx, &transit));
}

/* A flood from the wire to access ports only: made as they all want it, then copied by the kernel to each device of the domain's
 * devmap. No program runs on a copy: the kernel's queue of a device takes one program for all that one poll puts into it, so
 * one on floods would meet unicast too. tc floods what is left: domains with trunk ports or without a devmap, what the host
 * must hear too, and frames of more than one buffer, of which the kernel would copy the first only. */
static __always_inline enum sxdp_verdict xdp_flood_all(struct xdp_md *ctx, struct transit *transit, struct sxdp_cpu *here)
{
	const void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct sxdp_port *port = port_at(transit->slot);
	__u32 domain = (__u32)sxdp_domain(port->pf, transit->vlan);
	struct sxdp_frame *frame = &transit->frame;
	struct sxdp_members *list;
	void *receivers;

	if (frame_parse(frame, data, data_end) || (frame_is_tag(frame->type) && frame_parse_tag(frame, data, data_end)))
		return SXDP_DEFERRED;
	frame->length_bytes = xdp_first_buffer_bytes(ctx);
	if (port->flags & SXDP_PORT_HOST_STACK && transit->vlan == SXDP_VLAN_NONE)
		return SXDP_DEFERRED;
	if (bpf_xdp_get_buff_len(ctx) != frame->length_bytes || !target_fits_buffer(frame->length_bytes))
		return SXDP_DEFERRED;
	list = members.lookup(&domain);
	receivers = bpf_map_lookup_elem(floods_map(), &domain);
	if (!list || list->trunks || !receivers || !xdp_count_copies(here, list, transit))
		return SXDP_DEFERRED;
	if (xdp_retag(ctx, transit, 0) || bpf_redirect_map(receivers, NO_SLOT, BPF_F_BROADCAST) != XDP_REDIRECT)
		return SXDP_REDIRECT_ERROR;
	count_verdict(here, transit, SXDP_FLOODED);
	count_group(here, transit, frame->destination == SXDP_MAC_BROADCAST);
	return SXDP_COUNTED;
}

int xdp_flood(struct xdp_md *ctx)
{
	struct transit transit = { .frames = 1 };
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return XDP_PASS;
	transit.slot = here->flood_slot & SXDP_SLOT_MASK;
	transit.vlan = here->flood_vlan & SXDP_VLAN_MASK;
	return xdp_finish(&transit, xdp_flood_all(ctx, &transit, here));
}

/* ---- tc ---- */

/* The one exit of every tc program. */
static __always_inline int tc_finish(const struct transit *transit, enum sxdp_verdict verdict)
{
	if (verdict != SXDP_COUNTED)
		count_finished(transit, verdict);
	return transit->action;
}

static __always_inline int tc_retag(struct __sk_buff *skb, const struct transit *transit, int tagged)
{
	if (tagged == (transit->frame.tpid != 0))
		return 0;
	if (!tagged)
		return bpf_skb_vlan_pop(skb);
	return bpf_skb_vlan_push(skb, __builtin_bswap16(SXDP_TPID_8021Q), (__u16)transit->vlan);
}

static __always_inline enum sxdp_verdict tc_forward(struct __sk_buff *skb, struct transit *transit,
						    const struct route *route)
{
	if (tc_retag(skb, transit, vlan_leaves_tagged(route->target, transit->vlan)))
		return SXDP_REDIRECT_ERROR;
	transit->target_slot = route->slot;
	if (route->target->flags & SXDP_PORT_NO_CARRIER) {
		if (bpf_clone_redirect(skb, route->target->ifindex, 0))
			return SXDP_REDIRECT_ERROR;
		return count_forwarded(transit);
	}
	if (route->target->flags & SXDP_PORT_PEER)
		transit->action = bpf_redirect_peer(route->target->ifindex, 0);
	else
		transit->action = bpf_redirect(route->target->ifindex, 0);
	if (transit->action == TC_REDIRECT)
		return count_forwarded(transit);
	transit->action = TC_DROP;
	return SXDP_REDIRECT_ERROR;
}

static __always_inline __u64 tc_frames(const struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

/* Of what leaves: a super-frame becomes segments, whose headers are shorter than this. */
static __always_inline __u64 tc_longest_bytes(const struct __sk_buff *skb)
{
	return skb->gso_size ? skb->gso_size + TC_MOST_HEADER_BYTES : skb->len;
}

/* A tag that the device took off stands beside the bytes. */
static __always_inline int tc_parse(struct __sk_buff *skb, struct transit *transit)
{
	__u32 needed = SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES;
	struct sxdp_frame *frame = &transit->frame;

	if ((void *)(long)skb->data + needed > (void *)(long)skb->data_end && skb->len >= needed &&
	    bpf_skb_pull_data(skb, needed))
		return -1;
	if (frame_parse(frame, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return -1;
	frame->length_bytes = skb->len;
	transit->frames = tc_frames(skb);
	if (!skb->vlan_present)
		return frame_is_tag(frame->type) ?
			       frame_parse_tag(frame, (void *)(long)skb->data, (void *)(long)skb->data_end) :
			       0;
	frame->tpid = __builtin_bswap16((__u16)skb->vlan_proto);
	frame->tci = skb->vlan_tci;
	return 0;
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
	tc_stages.call(skb, 0);
	return SXDP_REDIRECT_ERROR;
}

static __always_inline enum sxdp_verdict tc_start_flood(struct __sk_buff *skb, const struct transit *transit)
{
	skb->cb[FLOOD_SLOT] = (__u32)transit->slot;
	skb->cb[FLOOD_VLAN] = (__u32)transit->vlan;
	skb->cb[FLOOD_PROGRESS] = (transit->frame.tpid ? FLOOD_IS_TAGGED : 0) |
				  (transit->frame.destination == SXDP_MAC_BROADCAST ? FLOOD_IS_BROADCAST : 0);
	return tc_flood_from(skb, 0);
}

static __always_inline void tc_copy_to(struct __sk_buff *skb, __u64 slot)
{
	struct sxdp_port *target = port_at(slot);
	__u64 vlan = skb->cb[FLOOD_VLAN] & SXDP_VLAN_MASK;
	__u32 progress = skb->cb[FLOOD_PROGRESS];
	struct sxdp_cpu *here;
	struct sxdp_counters *counted;
	__u64 frames;
	int has_failed;

	if (!target->ifindex || slot == skb->cb[FLOOD_SLOT])
		return;
	if (target_judge_copy(target, trunk_of(target, slot), vlan) != SXDP_ADMITTED || !target_takes(target, tc_longest_bytes(skb)))
		return;
	if (vlan_leaves_tagged(target, vlan) != ((progress & FLOOD_IS_TAGGED) != 0)) {
		skb->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_MISMATCHED;
		return;
	}
	has_failed = bpf_clone_redirect(skb, target->ifindex, 0) != 0;
	skb->cb[FLOOD_PROGRESS] = progress | FLOOD_IS_COPIED;
	frames = tc_frames(skb);
	here = this_cpu();
	if (!here)
		return;
	counted = count_egress(here, slot, frames, skb->len);
	counted->egress_errors += has_failed ? frames : 0;
	count_copy(counted, frames, progress & FLOOD_IS_BROADCAST);
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
	__u32 domain = (__u32)sxdp_domain(port->pf, transit->vlan);
	struct sxdp_members *list = members.lookup(&domain);

	if (!list) {
		domain = (__u32)sxdp_domain(port->pf, SXDP_VLAN_TRUNKS);
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

/* What it must know of the frame is in skb->cb; the bytes were looked at before. */
int tc_flood(struct __sk_buff *skb)
{
	struct transit transit = { .frames = tc_frames(skb), .action = TC_DROP };
	__u32 progress = skb->cb[FLOOD_PROGRESS];
	enum sxdp_verdict verdict;
	struct sxdp_cpu *here;

	transit.slot = skb->cb[FLOOD_SLOT] & SXDP_SLOT_MASK;
	transit.vlan = skb->cb[FLOOD_VLAN] & SXDP_VLAN_MASK;
	transit.frame.tpid = progress & FLOOD_IS_TAGGED;
	transit.frame.length_bytes = skb->len;
	verdict = tc_flood_some(skb, &transit, port_at(transit.slot), skb->cb[FLOOD_NEXT]);
	here = this_cpu();
	if (verdict == SXDP_FLOODED && here)
		count_group(here, &transit, progress & FLOOD_IS_BROADCAST);
	return tc_finish(&transit, verdict);
}

/* Of a group frame of a guest. The uplink's port has no guard, and is never cut. */
static __always_inline enum sxdp_verdict tc_admit_flood(const struct sxdp_port *port, const struct transit *transit)
{
	__u32 key = (__u32)transit->slot;
	struct sxdp_guard *guard = guards.lookup(&key);
	enum sxdp_verdict verdict = loop_judge(port);
	struct sxdp_meter *meter;

	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (!guard)
		return SXDP_STORM;
	meter = guard_meter(guard, transit->frame.destination);
	return meter->interval_ns ? guard_admit(meter, transit->frames, bpf_ktime_get_ns()) : SXDP_ADMITTED;
}

/* For the daemon. What has the form of a probe but is none is dropped as well, without a note. */
static __always_inline void tc_note_probe(struct __sk_buff *skb, const struct transit *transit)
{
	__u32 needed = SXDP_ETH_HEADER_BYTES + SXDP_TAG_BYTES + sizeof(struct sxdp_probe);
	__u32 key = (__u32)transit->slot;
	struct sxdp_return *noted = loops.lookup(&key);
	struct sxdp_probe probe;

	if (!noted || skb->len < needed)
		return;
	if ((void *)(long)skb->data + needed > (void *)(long)skb->data_end && bpf_skb_pull_data(skb, needed))
		return;
	if (frame_parse_probe(&probe, &transit->frame, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return;
	noted->nonce = probe.nonce;
	noted->sender = probe.sender;
	noted->vlan = probe.vlan;
	noted->time_ns = bpf_ktime_get_ns();
}

static __always_inline enum sxdp_verdict tc_switch(struct __sk_buff *skb, struct transit *transit)
{
	struct sxdp_port *port = port_at(transit->slot);
	enum sxdp_verdict verdict = admit_port(port, skb->ifindex);
	struct route route = {};

	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (tc_parse(skb, transit))
		return SXDP_MALFORMED;
	verdict = admit(port, trunk_of(port, transit->slot), transit, tc_length_fits(skb, port, transit), LONG_WAY);
	if (verdict == SXDP_LOOP && !transit->is_from_wire)
		tc_note_probe(skb, transit);
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (frame_is_multicast(transit->frame.destination)) {
		if (!transit->is_from_wire)
			verdict = tc_admit_flood(port, transit);
		return verdict == SXDP_ADMITTED ? tc_start_flood(skb, transit) : verdict;
	}
	verdict = find_route(port, transit, &route, LONG_WAY);
	if (verdict == SXDP_TO_HOST)
		transit->action = TC_PASS;
	if (verdict != SXDP_ADMITTED)
		return verdict;
	if (!target_takes(route.target, tc_longest_bytes(skb)))
		return SXDP_OVERSIZE;
	return tc_forward(skb, transit, &route);
}

int tc_vf(struct __sk_buff *skb)
{
	struct transit transit = { .frames = 1, .action = TC_DROP, .slot = slot_of_vf(skb->ifindex) };

	return tc_finish(&transit, tc_switch(skb, &transit));
}

int tc_uplink(struct __sk_buff *skb)
{
	struct transit transit = { .frames = 1, .action = TC_DROP, .slot = uplink_slot(), .is_from_wire = 1 };

	return tc_finish(&transit, tc_switch(skb, &transit));
}

/* ---- what devices did not take ---- */

static __always_inline void count_egress_errors(__u64 slot, __u64 frames)
{
	struct sxdp_cpu *here = this_cpu();

	if (here)
		here->of[slot & SXDP_SLOT_MASK].egress_errors += frames;
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

/* What could not be queued: unicast is the target's loss; copies of a flood, of which nobody knows whose they were, are counted
 * where the frame entered. */
static __always_inline void count_redirect_error(__u64 slot, __u64 target)
{
	struct sxdp_cpu *here = this_cpu();

	if (!here)
		return;
	if (target == NO_SLOT)
		here->of[slot & SXDP_SLOT_MASK].verdict[SXDP_REDIRECT_ERROR]++;
	else
		here->of[target & SXDP_SLOT_MASK].egress_errors++;
}

/* The target was refused before any batch. Tracepoint xdp_redirect_err: dev, prog, target, err, map type, map id, index;
 * the index is the target's slot, or NO_SLOT, when the frame came from one of our ports. */
int on_redirect_error(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 ifindex = read_ifindex(ctx->args[0]);
	__u32 target = (__u32)ctx->args[6];
	__u32 slot = slot_of_vf(ifindex);

	if (slot_has(slot, ifindex)) {
		count_redirect_error(slot, target);
		return 0;
	}
	for (slot = 0; slot < SXDP_MAX_PFS; slot++) {
		if (slot_has(slot, ifindex))
			count_redirect_error(slot, target);
	}
	return 0;
}
