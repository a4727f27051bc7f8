/* SPDX-License-Identifier: GPL-2.0-only */
/* The forwarding database: which port has an address in a VLAN. A table of buckets with SXDP_FDB_WAYS words each, so that a
 * look-up is a multiplication and one cache line, and costs no call. The factor is odd, so the product tells the key: its
 * high bits are the bucket's number, its low bits stand in the entry, above the place. So a match is exact.
 *
 * An entry whose bucket is full is in a hash map instead, which is looked at only when the bucket is full.
 */
#ifndef SXDP_FDB_H
#define SXDP_FDB_H

#include "abi/types.h"

#define SXDP_FDB_FACTOR 0x9e3779b97f4a7c15ULL         /* 2^64 / golden ratio: Knuth, TAOCP 3, 6.4, Fibonacci hashing */

static __always_inline __u64 fdb_scatter(__u64 key)
{
	return key * SXDP_FDB_FACTOR;
}

static __always_inline __u64 fdb_bucket(__u64 scattered)
{
	return scattered >> (64 - SXDP_FDB_BUCKET_BITS);
}

static __always_inline __u64 fdb_word(__u64 scattered, __u64 ref)
{
	return scattered << SXDP_REF_BITS | ref;
}

/* The ref, or 0 when the word is of another address, or free. */
static __always_inline __u64 fdb_match(__u64 word, __u64 scattered)
{
	__u64 rest = word ^ scattered << SXDP_REF_BITS;

	return rest >> SXDP_REF_BITS ? 0 : rest;
}

static __always_inline __u64 fdb_slot(__u64 ref)
{
	return ref & (SXDP_MAX_PORTS - 1);
}

#endif
