/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers with a meaning: verdicts, flags of ports, stages, what makes a probe. Append only: a retired one stays reserved. */
#ifndef SXDP_ABI_NUMBERS_H
#define SXDP_ABI_NUMBERS_H

#include "abi/limits.h"

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
	SXDP_MISSED_STAGE = 18,     /* the next program of its way was not there */
	SXDP_UNTAGGED = 19,         /* of a trunk port's guest, which has no VLAN for it */
	SXDP_BLOCKED = 20,          /* one of its two ports is blocked by the operator */
	SXDP_SPOOF_VLAN = 21,       /* a guest's tag is none that its port may send */
	SXDP_PRIVATE_VLAN = 22,     /* its two ports do not meet within their VLAN */
	SXDP_NOT_SUBSCRIBED = 23,   /* nobody who might have got it asked for its group */
	SXDP_QUEUE_FULL = 24,       /* the queue that holds its port to a rate had no room: the kernel counts it, no program does */
	SXDP_RATE_LIMITED = 25,     /* its port sent more than its rate lets pass */
	SXDP_UPLINK_LOST = 26,      /* for the wire, which has no carrier, or whose device is gone */
};

enum sxdp_verdict_room {
	SXDP_VERDICTS = 32,         /* of the counter block; a power of two, as counting masks its index */
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
	SXDP_PORT_AWAY = 1 << 13,          /* its guest has no carrier: its addresses are looked for elsewhere */
	SXDP_PORT_HOST_VLANS = 1 << 14,    /* uplink with VLANs of the host's own; the trunk bitmap lists them */
	SXDP_PORT_NARROW = 1 << 15,        /* its device takes only shorter frames than the switch: device_mtu_bytes */
	SXDP_PORT_BLOCKED = 1 << 16,       /* block: nothing enters or leaves, with the link up */
	SXDP_PORT_ALLOWS = 1 << 17,        /* allowed_macs: sources that its list names are its own too */
	SXDP_PORT_PRIVATE = 1 << 18,       /* its segment is not promiscuous */
	SXDP_PORT_SUBSCRIBES = 1 << 19,    /* of multicast it gets the groups that its guest asked for */
	SXDP_PORT_QUEUED = 1 << 20,        /* its device has a queue that holds it to a rate, which only tc sends by */
	SXDP_PORT_POLICED = 1 << 21,       /* its guest sends no more than its rate lets pass */
	SXDP_PORT_SHAPED = 1 << 22,        /* what its guest sends waits for its turn in another device first */
	SXDP_PORT_PROMISCUOUS = 1 << 23,   /* it gets a copy of each frame of its VLANs, whoever that is for */
	SXDP_PORT_COPIED = 1 << 24,        /* such a port is in a VLAN of this one, so what enters here may have more receivers */
	SXDP_PORT_VEPA = 1 << 25,          /* its PF leaves switching to the wire: what a guest sends goes there, whoever it is for */
	SXDP_PORT_LOST = 1 << 26,          /* on the uplink's port: the wire has no carrier, or its device is gone */
	SXDP_PORT_SHARES = 1 << 27,        /* it holds addresses that others may hold too; on the uplink's port: some port does */
	SXDP_PORT_SPEAKS = 1 << 28,        /* its own address is one of them, so that it is told who spoke by it last */
	SXDP_PORT_SERVICE = 1 << 29,       /* its VLANs are 802.1ad's: behind their tag, or instead of it, a guest may have one of its own */
	SXDP_PORT_WATCHED = 1 << 30,       /* somebody wants to see its frames, so all take the long way */
};

/* The fast ways are for ports that have no other flags than these, and whose link is up: a flag that is new is not in here, so a
 * frame of its port goes the long way, each time, until somebody has thought about it. */
enum sxdp_plain {
	/* What matters to a frame that enters here only when it is a group's, forged, or for the host, and so none for a fast way;
	 * or what matters to frames that leave here. */
	SXDP_PLAIN_INGRESS = SXDP_PORT_FORGED_ACCEPT | SXDP_PORT_PEER | SXDP_PORT_UPLINK | SXDP_PORT_HOST_STACK |
			     SXDP_PORT_PF_HAS_TRUNKS | SXDP_PORT_NO_CARRIER | SXDP_PORT_NATIVE_XDP |
			     SXDP_PORT_OWN_SOURCE_ACCEPT | SXDP_PORT_LOOP | SXDP_PORT_ONE_BUFFER | SXDP_PORT_AWAY |
			     SXDP_PORT_HOST_VLANS | SXDP_PORT_NARROW | SXDP_PORT_ALLOWS | SXDP_PORT_PRIVATE |
			     SXDP_PORT_SUBSCRIBES | SXDP_PORT_QUEUED | SXDP_PORT_PROMISCUOUS | SXDP_PORT_LOST |
			     SXDP_PORT_SHARES,
	/* As above, seen from where it leaves. A port with long frames may get one by a fast way, and one whose guest takes a single
	 * buffer too, as ports that may send longer ones are not plain. */
	SXDP_PLAIN_TARGET = SXDP_PORT_FORGED_ACCEPT | SXDP_PORT_PEER | SXDP_PORT_UPLINK | SXDP_PORT_HOST_STACK |
			    SXDP_PORT_PF_HAS_TRUNKS | SXDP_PORT_NO_CARRIER | SXDP_PORT_NATIVE_XDP |
			    SXDP_PORT_OWN_SOURCE_ACCEPT | SXDP_PORT_LOOP | SXDP_PORT_ONE_BUFFER | SXDP_PORT_JUMBO |
			    SXDP_PORT_HOST_VLANS | SXDP_PORT_ALLOWS | SXDP_PORT_SUBSCRIBES | SXDP_PORT_POLICED |
			    SXDP_PORT_SHAPED | SXDP_PORT_PROMISCUOUS | SXDP_PORT_COPIED | SXDP_PORT_VEPA |
			    SXDP_PORT_SHARES | SXDP_PORT_SPEAKS,
};

/* What a PF's own port says beside its flags, of its guests' ports; nothing of it is asked on a fast way. */
enum sxdp_of_pf {
	SXDP_PF_IS_WATCHED = 1 << 0,   /* somebody wants to see frames of some port, which floods may come to */
	SXDP_PF_HAS_SERVICE = 1 << 1,  /* some port is in a VLAN of 802.1ad */
};

/* Of a port in its VLAN (isolation.h); a community's is its number behind the last of these. */
enum sxdp_segment {
	SXDP_SEGMENT_PROMISCUOUS = 0,
	SXDP_SEGMENT_ISOLATED = 1,
};

/* Programs that others jump to, by their place in a hook's array. Append only. */
enum sxdp_stage {
	SXDP_STAGE_LONG = 0,        /* all rules, for what no fast way took */
	SXDP_STAGE_FLOOD = 1,
	SXDP_STAGES = 8,            /* room */
};

/* The daemon sends probes into guests, to see whether they come back by another port (loop.h): frames of the Configuration
 * Testing Protocol (Ethernet 2.0, chapter 8), replies that ask for nothing, to the group that this protocol has for finding
 * loops; and, where unicast is copied, to a station that is nowhere. */
#define SXDP_PROBE_GROUP 0x0000000000cfULL            /* cf:00:00:00:00:00 */
#define SXDP_PROBE_STATION 0x0000000000ceULL          /* ce:00:00:00:00:00 */
#define SXDP_PROBE_MAGIC 0x7064787300010000ULL        /* skip count 0, function 1 (reply), receipt number and data "sxdp" */

#endif
