/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow cache: what the rules said of frames that began alike. A decision of the short way depends on nothing but the
 * Ethernet header, the device, the length and the tables; so while the tables are the same, a frame with the same header on
 * the same device, no longer than its port allows, goes where the last one went. Each CPU has a cache of its own, and only
 * frames that were forwarded as they are get into it: whatever is dropped, tagged or counted otherwise is judged each time.
 */
#ifndef SXDP_FLOW_H
#define SXDP_FLOW_H

#include "abi/types.h"
#include "rules/fdb.h"

/* Lives in registers only. */
struct sxdp_flow_key {
	__u64 head;                 /* bytes 0 to 7 of the frame */
	__u64 tail;                 /* bytes 6 to 13 */
	__u64 epoch;                /* of the tables, read before anything else of them; 0 = they are being written */
	__u64 ingress;              /* ifindex of the device; in tc with one bit more, as what tc sends does not reach everybody */
};

/* By both addresses and the type. The shift puts the source's last bytes, where stations differ, onto the destination's first
 * ones, where they seldom do, so that neighbours do not cancel out. */
static __always_inline __u64 flow_index(const struct sxdp_flow_key *key)
{
	return fdb_scatter(key->head ^ key->tail >> 24) >> (64 - SXDP_FLOW_BITS);
}

/* An unused flow has length 0, which no frame has. */
static __always_inline int flow_matches(const struct sxdp_flow *flow, const struct sxdp_flow_key *key, __u64 length_bytes)
{
	return flow->head == key->head && flow->tail == key->tail && flow->epoch == key->epoch &&
	       flow->ingress == key->ingress && length_bytes <= flow->longest_bytes;
}

static __always_inline void flow_learn(struct sxdp_flow *flow, const struct sxdp_flow_key *key, __u64 longest_bytes,
				       __u64 target_slot)
{
	flow->head = key->head;
	flow->tail = key->tail;
	flow->epoch = key->epoch;
	flow->ingress = (__u32)key->ingress;
	flow->longest_bytes = (__u16)longest_bytes;
	flow->target_slot = (__u16)target_slot;
}

#endif
