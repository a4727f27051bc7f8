/* SPDX-License-Identifier: GPL-2.0-only */
/* Ports, the tags of trunk ports, and who has an address. */
#ifndef SXDP_LOOKUP_H
#define SXDP_LOOKUP_H

#include "abi/types.h"
#include "rules/fdb.h"
#include "rules/target.h"
#include "rules/vlan.h"
#include "switch/handles.h"
#include "switch/helpers.h"
#include "switch/transit.h"

enum fdb_answer {
	FDB_BUCKET_IS_FULL = 1 << SXDP_REF_BITS,  /* above all refs: what is not in the table may be in the overflow */
};

/* The empty asm keeps the compiler from computing the address anew at each access. */
static __always_inline struct sxdp_port *port_at(__u64 slot)
{
	struct sxdp_ports *ports = ports_handle();
	struct sxdp_port *port = &ports->at[slot & SXDP_SLOT_MASK];

	asm volatile("" : "+r"(port));
	return port;
}

static __always_inline __u64 slot_of_vf(__u64 ifindex)
{
	return ifindex & SXDP_SLOT_MASK;
}

static __always_inline struct sxdp_trunk *trunk_of(const struct sxdp_port *port, __u64 slot)
{
	__u32 key = (__u32)slot;

	return port->flags & SXDP_PORT_TRUNK ? bpf_map_lookup_elem(trunks_handle(), &key) : 0;
}

/* Of its VLANs, those whose frames a trunk port's guest gets: all, or what it asked for. */
static __always_inline struct sxdp_trunk *heard_by(const struct sxdp_port *port, __u64 slot)
{
	__u32 key = (__u32)slot;

	return port->flags & SXDP_PORT_TRUNK ? bpf_map_lookup_elem(heard_handle(), &key) : 0;
}

static __always_inline struct sxdp_allowed *allowed_of(const struct sxdp_port *port, __u64 slot)
{
	__u32 key = (__u32)slot;

	return port->flags & SXDP_PORT_ALLOWS ? bpf_map_lookup_elem(allowed_handle(), &key) : 0;
}

/* Of the tag that a frame gets which has none, or names no VLAN. */
static __always_inline __u16 tci_given(const struct transit *transit)
{
	return (__u16)((transit->vlan & SXDP_VLAN_MASK) | port_at(transit->slot)->priority);
}

/* Whether a port gets a multicast frame. */
static __always_inline int hears_group(const struct sxdp_port *port, __u64 slot, __u64 group)
{
	__u64 key = sxdp_subscription(slot, group);

	return !(port->flags & SXDP_PORT_SUBSCRIBES) || bpf_map_lookup_elem(subscriptions_handle(), &key) != 0;
}

/* An address that several may hold, or 0. port: one that holds such, or the PF's own. Trunk ports hold it in each of their VLANs by
 * itself, as another one may speak in each. */
static __always_inline struct sxdp_shared *shared_at(const struct sxdp_port *port, __u64 vlan, __u64 mac)
{
	__u64 key = sxdp_fdb_key(sxdp_domain(port->pf, vlan), sxdp_kept_mac(vlan, mac));

	return port->flags & SXDP_PORT_SHARES ? bpf_map_lookup_elem(shared_handle(), &key) : 0;
}

/* VLANs that the host has on an uplink. */
static __always_inline struct sxdp_trunk *host_vlans_of(const struct sxdp_port *uplink, __u64 pf)
{
	__u32 key = (__u32)pf;

	return uplink->flags & SXDP_PORT_HOST_VLANS ? bpf_map_lookup_elem(trunks_handle(), &key) : 0;
}

/* The ref of an address by the table alone: one cache line. 0 = nobody has it. */
static __always_inline __u64 fdb_find_in_table(__u64 pf, __u64 vlan, __u64 mac)
{
	__u64 scattered = fdb_scatter(sxdp_fdb_key(sxdp_domain(pf, vlan), mac));
	struct sxdp_fdb *table = fdb_handle();
	const __u64 *words = table->way[fdb_bucket(scattered)];
	int i;

#pragma unroll
	for (i = 0; i < SXDP_FDB_WAYS; i++) {
		__u64 ref = fdb_match(words[i], scattered);

		if (ref)
			return ref;
	}
	return words[0] && words[1] && words[2] && words[3] ? FDB_BUCKET_IS_FULL : 0;
}

/* The ref of an address, or 0. */
static __always_inline __u64 fdb_find(__u64 pf, __u64 vlan, __u64 mac)
{
	__u64 kept = sxdp_kept_mac(vlan, mac);
	__u64 key = sxdp_fdb_key(sxdp_domain(pf, vlan), kept);
	__u64 ref = fdb_find_in_table(pf, vlan, kept);
	__u32 *overflow;

	if (ref != FDB_BUCKET_IS_FULL)
		return ref;
	overflow = bpf_map_lookup_elem(fdb_overflow_handle(), &key);
	return overflow ? *overflow : 0;
}

/* Whether a station is to be found at a ref now: one whose guest has no carrier is looked for elsewhere, as its address may have
 * moved to the wire, with a bond. */
static __always_inline int is_found_at(__u64 ref)
{
	const struct sxdp_port *port = port_at(fdb_slot(ref));

	return ref && !(target_is_current(port, ref) && port->flags & SXDP_PORT_AWAY);
}

/* Of an entry of the trunks: whether the port that it leads to carries the VLAN. One that leads to nobody is nobody's business here. */
static __always_inline int is_carried(__u64 ref, __u64 vlan)
{
	__u64 slot = fdb_slot(ref);
	const struct sxdp_port *port = port_at(slot);

	return !target_is_current(port, ref) || vlan_is_carried(port, trunk_of(port, slot), vlan);
}

/* The ref of an address that a trunk port has, where that is a member of the VLAN, or 0. */
static __always_inline __u64 fdb_find_in_trunks(const struct sxdp_port *uplink, __u64 vlan, __u64 mac)
{
	__u64 trunks = SXDP_VLAN_TRUNKS | (vlan & SXDP_VLAN_SERVICE);
	__u64 ref = uplink->flags & SXDP_PORT_PF_HAS_TRUNKS ? fdb_find(uplink->pf, trunks, mac) : 0;

	return ref && is_carried(ref, vlan) ? ref : 0;
}

#endif
