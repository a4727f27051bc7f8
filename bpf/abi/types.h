/* SPDX-License-Identifier: GPL-2.0-only */
/* What stands in the maps. MAC addresses are a __u64 whose low 48 bits are the six bytes as a little-endian machine loads them (first
 * byte on the wire = lowest byte). */
#ifndef SXDP_ABI_TYPES_H
#define SXDP_ABI_TYPES_H

#include "abi/limits.h"
#include "abi/numbers.h"

/* One port of a PF's embedded switch. User space writes whole values; each decision reads one aligned word, so a reader
 * that meets a write sees the old or the new setting of each word. */
struct sxdp_port {
	__u32 ifindex;              /* 0 = no such port */
	__u32 generation;
	__u64 mac;                  /* effective MAC of a VF; the device's own MAC of an uplink */
	__u32 flags;                /* enum sxdp_port_flag */
	__u16 vlan;                 /* number of the VLAN of frames without a tag: the access VLAN, a trunk's native one; SXDP_VLAN_NONE */
	__u16 mtu_bytes;            /* payload after the Ethernet header and one tag */
	__u16 pf;
	__u16 device_mtu_bytes;     /* of its device: an uplink's, or one that is less than mtu_bytes (SXDP_PORT_NARROW); else 0 */
	__u32 ref;                  /* what entries of the forwarding database say that lead here (sxdp_ref); 0 = none may */
	__u16 segment;              /* of its VLAN (sxdp_segment); its flag is SXDP_PORT_PRIVATE */
	__u16 priority;             /* PCP of the tag that the switch gives, as bits of its TCI */
	__u16 of_pf;                /* of a PF's own port: enum sxdp_of_pf */
	__u16 spare;
	__u32 hop_ifindex;          /* with SXDP_PORT_SHAPED: the device that its guest's frames wait in, */
	__u32 shaped_ifindex;       /* and the one that they come out of */
	__u64 room[2];              /* a port is a cache line */
};
_Static_assert(sizeof(struct sxdp_port) == 64, "sxdp_port");

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

/* Addresses that a port may send from beside its own: those whose bits under the mask are these. A mask of 0 is no pattern. */
struct sxdp_pattern {
	__u64 address;
	__u64 mask;
};

struct sxdp_allowed {
	struct sxdp_pattern patterns[SXDP_MAX_ALLOWED];
};
_Static_assert(sizeof(struct sxdp_allowed) == 256, "sxdp_allowed");

/* An address that several ports of a PF may hold, and the wire with them, as a virtual router's: it leads to the one that spoke last,
 * whom the daemon puts into the forwarding database. */
struct sxdp_shared {
	__u64 holders[SXDP_MAX_PORTS / 64];  /* ports that may speak by it, one bit a slot */
	__u32 speaker;              /* the programs': the slot of the last that did, the PF's own port for the wire; SXDP_NOBODY */
	__u32 spare;
};
_Static_assert(sizeof(struct sxdp_shared) == 136, "sxdp_shared");

/* At most so many group frames of a port enter in a second (guard.h). Of each kind of them. */
struct sxdp_meter {
	__u64 interval_ns;          /* a frame's share of a second; 0 = no limit */
	__u64 due_ns;               /* the programs': when the next frame is due, on the kernel's monotonic clock */
};

struct sxdp_guard {
	struct sxdp_meter broadcast;
	struct sxdp_meter multicast;
};
_Static_assert(sizeof(struct sxdp_guard) == 32, "sxdp_guard");

/* How fast a port may send (rate.h). */
struct sxdp_bucket {
	__u64 byte_cost;            /* 0 = no limit */
	__u64 burst;
	__u64 full_at;              /* the programs' */
};

struct sxdp_rate {
	struct sxdp_bucket average;
	struct sxdp_bucket peak;
	__u32 average_kbps;         /* what the operator said, which the buckets come from; nothing for programs */
	__u32 peak_kbps;
	__u64 burst_bytes;          /* 0 = chosen by the rate */
};
_Static_assert(sizeof(struct sxdp_rate) == 64, "sxdp_rate");

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

/* One word an entry, 0 = free: a reader sees an entry or none, never half of one. */
struct sxdp_fdb {
	__u64 way[SXDP_FDB_BUCKETS][SXDP_FDB_WAYS];
};

/* Who gets a flood in one domain. */
struct sxdp_members {
	__u32 count;
	__u16 slots[SXDP_MAX_MEMBERS + SXDP_FLOOD_CHUNK];  /* the last chunk may be looked at past count, within bounds */
	__u32 of_tc;                /* how many of them XDP cannot serve: trunk ports, which want the tag, and those that want not all */
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
_Static_assert(sizeof(struct sxdp_counters) == 320, "sxdp_counters");

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

/* A frame that was seen as it entered a port that somebody watches, or as it came to one, and what became of it. */
struct sxdp_sample {
	__u64 time_ns;              /* on the kernel's monotonic clock */
	__u32 slot;                 /* where it entered */
	__u32 target_slot;          /* and left; SXDP_NOBODY: nowhere, or to many */
	__u16 verdict;
	__u16 vlan;                 /* with SXDP_SAMPLE_SERVICE; of a frame that no rule refused before */
	__u32 length_bytes;
	__u32 kept_bytes;           /* of the bytes below */
	__u16 tpid;                 /* of a tag beside the bytes, 0 = there is none */
	__u16 tci;
	__u8 bytes[SXDP_SAMPLE_BYTES];
};
_Static_assert(sizeof(struct sxdp_sample) == 160, "sxdp_sample");

/* Of one CPU: a ring, in which the oldest gives way. User space reads, and counts what it missed. */
struct sxdp_samples {
	__u64 written;              /* how many there were since the map was made */
	__u64 is_open;              /* the next one has its frame, and no verdict yet */
	struct sxdp_sample at[SXDP_SAMPLES];
};

/* What is one CPU's own. A map has one for each CPU (not a per-CPU map: that could not be mapped into user space). */
struct sxdp_cpu {
	struct sxdp_counters of[SXDP_MAX_PORTS];
	struct sxdp_flow flows[SXDP_FLOWS];
	__u32 handed_slot;          /* from a program to the one that it jumps to: where the frame entered */
	__u32 handed_vlan;          /* and, of a flood, in which VLAN */
};

/* The forwarding domain of a VLAN of a PF, and the key of its forwarding database. SXDP_VLAN_SERVICE is shifted out of that: addresses
 * in VLANs of 802.1ad are kept there with the bit of groups, which no other has (sxdp_kept_mac). */
static __always_inline __u64 sxdp_domain(__u64 pf, __u64 vlan)
{
	return pf << 12 | vlan;
}

static __always_inline __u64 sxdp_fdb_key(__u64 domain, __u64 mac)
{
	return domain << 48 | mac;
}

static __always_inline __u64 sxdp_kept_mac(__u64 vlan, __u64 mac)
{
	return vlan & SXDP_VLAN_SERVICE ? mac | 1 : mac;
}

/* That the guest of a port asked for a group. */
static __always_inline __u64 sxdp_subscription(__u64 slot, __u64 group)
{
	return slot << 48 | group;
}

static __always_inline __u32 sxdp_ref(__u32 slot, __u32 generation)
{
	return (generation & ((1 << SXDP_REF_GENERATION_BITS) - 1)) << SXDP_REF_SLOT_BITS | slot;
}

#endif
