/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything that crosses the border between the data path and user space: limits, verdict numbers, flag bits and
 * struct layouts. This file is the only truth for them; sriov_xdp/datapath/abi.py repeats them for Python and
 * tests/unit/test_abi.py compiles this header and compares both. Numbers are append-only: a retired one stays reserved.
 *
 * MAC addresses are kept as a __u64 whose low 48 bits are the six bytes as loaded from memory by a little-endian
 * machine (first byte on the wire = lowest byte). Multi-byte frame fields are in host order once parsed.
 */
#ifndef SXDP_ABI_H
#define SXDP_ABI_H

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
};

enum sxdp_buffer {
	SXDP_BUFFER_BYTES = 3520,   /* what an XDP buffer holds: a page less headroom and skb_shared_info */
};

/* VLAN 4095 is reserved by 802.1Q; in a domain it stands for "the trunk ports, any VLAN". */
enum sxdp_vlan {
	SXDP_VLAN_NONE = 0,
	SXDP_VLAN_TRUNKS = 4095,
	SXDP_VLAN_MASK = 0x0fff,
};

/* What became of a frame that entered the switch through a port. Append only. */
enum sxdp_verdict {
	SXDP_FORWARDED = 0,
	SXDP_FLOODED = 1,
	SXDP_TO_HOST = 2,
	SXDP_UNKNOWN_PORT = 3,
	SXDP_LINK_DOWN = 4,
	SXDP_MALFORMED = 5,
	SXDP_OVERSIZE = 6,
	SXDP_CONTROL_FRAME = 7,
	SXDP_VLAN_DENIED = 8,
	SXDP_DOUBLE_TAG = 9,
	SXDP_SPOOF_MAC = 10,
	SXDP_FORGED_SOURCE = 11,
	SXDP_NO_TARGET = 12,
	SXDP_TARGET_DENIED = 13,
	SXDP_REDIRECT_ERROR = 14,
	SXDP_HAIRPIN = 15,
	SXDP_STORM = 16,
	SXDP_LOOP = 17,
	SXDP_VERDICTS = 24,         /* room in the counter block */
	SXDP_UNDECIDED = 252,       /* internal: no frame for the short way */
	SXDP_COUNTED = 253,         /* internal: forwarded, and counted where it left */
	SXDP_ADMITTED = 254,        /* internal: no rule objected so far */
	SXDP_DEFERRED = 255,        /* internal: the tc program on the same device finishes and counts this frame */
};

enum sxdp_port_flag {
	SXDP_PORT_LINK_UP = 1 << 0,
	SXDP_PORT_TRUNK = 1 << 1,          /* VGT: the guest sends and gets tags; the trunk bitmap lists them */
	SXDP_PORT_FORGED_ACCEPT = 1 << 2,  /* forged_transmits: accept */
	SXDP_PORT_PEER = 1 << 3,           /* bpf_redirect_peer may deliver: a veth whose guest end runs no XDP program */
	SXDP_PORT_UPLINK = 1 << 4,
	SXDP_PORT_HOST_STACK = 1 << 5,     /* uplink with an address of the host: floods from the wire reach the host too */
	SXDP_PORT_JUMBO = 1 << 6,          /* MTU above one XDP buffer: the length needs a helper call */
	SXDP_PORT_PF_HAS_TRUNKS = 1 << 7,  /* on the uplink's port: look for a trunk entry when the FDB has none */
	SXDP_PORT_NO_CARRIER = 1 << 8,     /* seen without carrier: deliver in the way whose failure can be counted */
	SXDP_PORT_NATIVE_XDP = 1 << 9,     /* uplink whose driver runs XDP; any other is tc's */
	SXDP_PORT_OWN_SOURCE_ACCEPT = 1 << 10,  /* wire_own_source: accept, on the uplink's port */
	SXDP_PORT_LOOP = 1 << 11,          /* a loop through the guest was found: floods neither enter nor leave here */
	SXDP_PORT_ONE_BUFFER = 1 << 12,    /* its guest runs XDP on a kernel that frames of several buffers can panic */
};

/* One port of a PF's embedded switch. User space writes whole values; each decision reads one aligned word, so a reader
 * that meets a write sees the old or the new setting of each word. */
struct sxdp_port {
	__u32 ifindex;              /* 0 = no such port */
	__u32 generation;
	__u64 mac;                  /* effective MAC of a VF; the device's own MAC of an uplink */
	__u32 flags;                /* enum sxdp_port_flag */
	__u16 vlan;                 /* access VLAN, SXDP_VLAN_NONE = untagged */
	__u16 mtu_bytes;            /* payload after the Ethernet header and one tag */
	__u16 pf;
	__u16 pad0;
	__u32 place;                /* what entries of the forwarding database say that lead here (sxdp_place); 0 = none may */
};
_Static_assert(sizeof(struct sxdp_port) == 32, "sxdp_port");

/* All ports are one value, which programs address without a look-up and user space maps into its memory. */
struct sxdp_ports {
	struct sxdp_port at[SXDP_MAX_PORTS];
	__u64 epoch;                /* what was decided before it changed does not count; 0 = nothing is to be remembered */
	__u64 last_epoch;           /* user space's: the next one is above it */
};

/* Tags that a trunk port may use; one bit a VLAN. */
struct sxdp_trunk {
	__u64 vlans[64];
};
_Static_assert(sizeof(struct sxdp_trunk) == 512, "sxdp_trunk");

/* At most so many group frames of a port enter in a second (guard.h). Of each kind of them. */
struct sxdp_meter {
	__u64 interval_ns;          /* a frame's share of a second; 0 = no limit */
	__u64 due_ns;               /* the programs': when the next frame is due, on the kernel's monotonic clock */
};

enum sxdp_guard_limit {
	SXDP_GUARD_BURST_NS = 100000000,  /* what a port that rested may send at once is what it may send in this time */
};

struct sxdp_guard {
	struct sxdp_meter broadcast;
	struct sxdp_meter multicast;
};
_Static_assert(sizeof(struct sxdp_guard) == 32, "sxdp_guard");

/* The daemon sends probes into guests, to see whether they come back by another port (loop.h): frames of the Configuration
 * Testing Protocol (Ethernet 2.0, chapter 8), replies that ask for nothing, to the group that this protocol has for finding
 * loops. */
#define SXDP_PROBE_GROUP 0x0000000000cfULL            /* cf:00:00:00:00:00 */
#define SXDP_PROBE_MAGIC 0x7064787300010000ULL        /* skip count 0, function 1 (reply), receipt number and data "sxdp" */

/* Behind the Ethernet header, and perhaps a tag. */
struct sxdp_probe {
	__u64 magic;
	__u64 nonce;                /* of the daemon's run */
	__u32 sender;               /* slot of the port that it left by */
	__u32 vlan;                 /* which it left in */
};
_Static_assert(sizeof(struct sxdp_probe) == 24, "sxdp_probe");

/* The last probe that came back by a port. */
struct sxdp_return {
	__u64 nonce;
	__u64 time_ns;              /* on the kernel's monotonic clock */
	__u32 sender;
	__u32 vlan;
};
_Static_assert(sizeof(struct sxdp_return) == 24, "sxdp_return");

/* Where an address is: the slot of its port, and the low bits of the port's generation, so that an entry left over from an
 * earlier owner of the slot leads nowhere. Never 0, as no uplink (slot 0) is in the forwarding database. */
enum sxdp_place {
	SXDP_PLACE_SLOT_BITS = 10,
	SXDP_PLACE_GENERATION_BITS = 4,
	SXDP_PLACE_BITS = SXDP_PLACE_SLOT_BITS + SXDP_PLACE_GENERATION_BITS,
};
_Static_assert(1 << SXDP_PLACE_SLOT_BITS == SXDP_MAX_PORTS, "a slot fits");
_Static_assert(SXDP_FDB_BUCKET_BITS == SXDP_PLACE_BITS, "a place fits into the bits that the bucket's number saves");

/* One word an entry, 0 = free: a reader sees an entry or none, never half of one. */
struct sxdp_fdb {
	__u64 way[SXDP_FDB_BUCKETS][SXDP_FDB_WAYS];
};

/* Who gets a flood in one domain. */
struct sxdp_members {
	__u32 count;
	__u16 slots[SXDP_MAX_MEMBERS + SXDP_FLOOD_CHUNK];  /* the last chunk may be looked at past count, within bounds */
	__u32 trunks;               /* how many of them are trunk ports, which want the tag */
};
_Static_assert(sizeof(struct sxdp_members) == 584, "sxdp_members");

/* Of a port on one CPU. Ingress = the frame entered the switch here; egress = it left here. Frames, not skbs: a TSO
 * super-frame counts as its segments. */
struct sxdp_counters {
	__u64 ingress_bytes;        /* of frames that went on, as are the multicast and broadcast counters */
	__u64 egress_frames;
	__u64 egress_bytes;
	__u64 egress_errors;        /* counted in egress_frames, then not taken by the device */
	__u64 verdict[SXDP_VERDICTS];  /* behind the four: what every frame touches is in one cache line */
	__u64 ingress_multicast;
	__u64 ingress_broadcast;
	__u64 egress_multicast;
	__u64 egress_broadcast;
};
_Static_assert(sizeof(struct sxdp_counters) == 256, "sxdp_counters");

/* A decision that stands while the epoch does. */
struct sxdp_flow {
	__u64 head;                 /* bytes 0 to 7 of the frame */
	__u64 tail;                 /* bytes 6 to 13 */
	__u64 epoch;
	__u32 ingress;              /* where it entered */
	__u16 longest_bytes;        /* 0 = unused */
	__u16 target_slot;
};
_Static_assert(sizeof(struct sxdp_flow) == 32, "sxdp_flow");

/* What is one CPU's own. A map has one for each CPU (not a per-CPU map: that could not be mapped into user space). */
struct sxdp_cpu {
	struct sxdp_counters of[SXDP_MAX_PORTS];
	struct sxdp_flow flows[SXDP_FLOWS];
	__u32 flood_slot;           /* from the program that a flood entered to the one that finishes it */
	__u32 flood_vlan;
};

/* The forwarding domain of a VLAN of a PF, and the key of its forwarding database. */
static __always_inline __u64 sxdp_domain(__u64 pf, __u64 vlan)
{
	return pf << 12 | vlan;
}

static __always_inline __u64 sxdp_fdb_key(__u64 domain, __u64 mac)
{
	return domain << 48 | mac;
}

static __always_inline __u32 sxdp_place(__u32 slot, __u32 generation)
{
	return (generation & ((1 << SXDP_PLACE_GENERATION_BITS) - 1)) << SXDP_PLACE_SLOT_BITS | slot;
}

#endif
