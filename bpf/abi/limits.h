/* SPDX-License-Identifier: GPL-2.0-only */
/* How many of everything, and the geometry that follows. With numbers.h, types.h and maps.h all that crosses the border between the
 * data path and user space; sriov_xdp/datapath/abi.py repeats them for Python, and tests/unit/test_abi.py compiles them and
 * compares every number, size and offset. */
#ifndef SXDP_ABI_LIMITS_H
#define SXDP_ABI_LIMITS_H

#include <linux/types.h>

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

enum sxdp_limit {
	SXDP_MAX_PFS = 16,          /* four bits of the forwarding domain */
	SXDP_MAX_PORTS = 1024,      /* slots; one per-CPU counter block each */
	SXDP_MAX_MEMBERS = 256,     /* VFs of one VLAN of one PF: bounds the flood loop */
	SXDP_FLOOD_CHUNK = 32,      /* receivers a run of tc_flood serves */
	SXDP_MAX_VLANS = 1024,      /* member lists on one host */
	SXDP_MAX_FDB_ENTRIES = 16384,
	SXDP_MAX_ALLOWED = 16,      /* addresses and prefixes of one port */
	SXDP_MAX_SEGMENTS = 512,    /* that a guest's super-frame becomes: more than 256 KB of IPv4's smallest, 536 bytes */
};

/* What is kept of frames of ports that somebody watches: the last ones of each CPU. */
enum sxdp_sample_shape {
	SXDP_SAMPLES = 128,
	SXDP_SAMPLE_BYTES = 128,    /* of the beginning of a frame */
	SXDP_SAMPLE_SERVICE = 1 << 15,  /* beside the VLAN's number: of 802.1ad */
};

/* Geometry of the flow cache (flow.h), one a CPU: 64 KB, of which a flow touches one line. */
enum sxdp_flow_shape {
	SXDP_FLOW_BITS = 11,
	SXDP_FLOWS = 1 << SXDP_FLOW_BITS,
};

/* Geometry of the forwarding database (fdb.h). */
enum sxdp_fdb_shape {
	SXDP_FDB_BUCKET_BITS = 14,
	SXDP_FDB_BUCKETS = 1 << SXDP_FDB_BUCKET_BITS,
	SXDP_FDB_WAYS = 4,          /* at the limit a bucket has one entry on average */
};

/* Slots 0..SXDP_MAX_PFS-1 are the uplinks, by PF number; a VF's slot is the low bits of its representor's ifindex, which
 * the daemon chooses so that they are free. So a program finds its port by one array access. */
enum sxdp_slot {
	SXDP_SLOT_MASK = SXDP_MAX_PORTS - 1,
	SXDP_FIRST_VF_SLOT = SXDP_MAX_PFS,
	SXDP_NOBODY = SXDP_MAX_PORTS,  /* no slot */
};

enum sxdp_buffer {
	SXDP_BUFFER_BYTES = 3520,   /* what an XDP buffer holds: a page less headroom and skb_shared_info */
};

/* VLAN 4095 is reserved by 802.1Q; in a domain it stands for "the trunk ports, any VLAN". */
enum sxdp_vlan {
	SXDP_VLAN_NONE = 0,
	SXDP_VLAN_TRUNKS = 4095,
	SXDP_VLAN_MASK = 0x0fff,
	SXDP_VLAN_SERVICE = 1 << 16,   /* beside the number: of 802.1ad, so another one than 802.1Q's of that number */
	SXDP_VLAN_WHOLE = SXDP_VLAN_SERVICE | SXDP_VLAN_MASK,
	SXDP_PRIORITY_SHIFT = 13,
};

enum sxdp_guard_limit {
	SXDP_GUARD_BURST_NS = 100000000,  /* what a port that rested may send at once is what it may send in this time */
};

/* Where an address is: the slot of its port, and the low bits of the port's generation, so that an entry left over from an
 * earlier owner of the slot leads nowhere. Never 0, as no uplink (slot 0) is in the forwarding database. */
enum sxdp_ref {
	SXDP_REF_SLOT_BITS = 10,
	SXDP_REF_GENERATION_BITS = 4,
	SXDP_REF_BITS = SXDP_REF_SLOT_BITS + SXDP_REF_GENERATION_BITS,
};
_Static_assert(1 << SXDP_REF_SLOT_BITS == SXDP_MAX_PORTS, "a slot fits");
_Static_assert((int)SXDP_FDB_BUCKET_BITS == (int)SXDP_REF_BITS, "a ref fits into the bits that the bucket's number saves");

#endif
