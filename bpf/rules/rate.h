/* SPDX-License-Identifier: GPL-2.0-only */
/* How fast a port's guest may send, where nothing waits for its turn (shaping.ingress, mode police).
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A) in bytes: a bucket is the time when it will be full again, one word that
 * CPUs change by compare and swap. Times are in 1/1024 ns and wrap; what a byte costs is in 1/1024 of that. A frame passes when
 * there is room for its first SXDP_RATE_FIRST_BYTES, and pays for all of it: were a super-frame to find room for all of it, it would never
 * pass a small bucket, and were no frame to find room for anything, small ones would starve behind super-frames.
 */
#ifndef SXDP_RATE_H
#define SXDP_RATE_H

#include "abi/types.h"
#include "rules/answer.h"

enum sxdp_rate_shape {
	SXDP_RATE_TIME_BITS = 10,
	SXDP_RATE_COST_BITS = 10,
	SXDP_RATE_EXACT_BYTES = 1 << 20,  /* from here on, cost is in whole kilobytes */
	SXDP_RATE_MOST_BYTES = 1 << 27,  /* a bucket that owes more than these beside its burst was written ages ago */
	SXDP_RATE_TRIES = 4,        /* then the frame is paid for without a look */
	SXDP_RATE_FIRST_BYTES = 1514,
};

/* Whatever the rate, the product fits into 64 bits. More bytes than the most no super-frame becomes. */
static __always_inline __u64 rate_cost(const struct sxdp_bucket *bucket, __u64 bytes)
{
	if (bytes < SXDP_RATE_EXACT_BYTES)
		return bytes * bucket->byte_cost >> SXDP_RATE_COST_BITS;
	return ((bytes < SXDP_RATE_MOST_BYTES ? bytes : SXDP_RATE_MOST_BYTES) >> SXDP_RATE_COST_BITS) * bucket->byte_cost;
}

/* What is owed at a time: 0 when the bucket is full. full_at: as it was read. */
static __always_inline __u64 rate_debt(const struct sxdp_bucket *bucket, __u64 full_at, __u64 now)
{
	__u64 debt = full_at - now;

	return debt > bucket->burst + rate_cost(bucket, SXDP_RATE_MOST_BYTES) ? 0 : debt;
}

static __always_inline int rate_has_room(const struct sxdp_bucket *bucket, __u64 debt, __u64 bytes)
{
	__u64 first = bytes < SXDP_RATE_FIRST_BYTES ? bytes : SXDP_RATE_FIRST_BYTES;

	return !debt || debt + rate_cost(bucket, first) <= bucket->burst;
}

/* Takes a frame's bytes out of a bucket. must: whether or not there is room. Returns 0 when it passes. */
static __always_inline int rate_take(struct sxdp_bucket *bucket, __u64 bytes, __u64 now, int must)
{
	__u64 read = *(volatile __u64 *)&bucket->full_at, cost = rate_cost(bucket, bytes);
	int i;

#pragma unroll
	for (i = 0; i < SXDP_RATE_TRIES; i++) {
		__u64 debt = rate_debt(bucket, read, now), found;

		if (!must && !rate_has_room(bucket, debt, bytes))
			return -1;
		found = __sync_val_compare_and_swap(&bucket->full_at, read, now + debt + cost);
		if (found == read)
			return 0;
		read = found;
	}
	__sync_fetch_and_add(&bucket->full_at, cost);
	return 0;
}

/* bytes: of all frames that it will be on the wire. Only for a rate that has an average; its peak, if it has one, is looked at before
 * anything is taken, so that what one of the two refuses costs the other nothing. */
static __always_inline sxdp_answer rate_admit(struct sxdp_rate *rate, __u64 bytes, __u64 now_ns)
{
	__u64 now = now_ns << SXDP_RATE_TIME_BITS;
	struct sxdp_bucket *peak = &rate->peak;

	if (peak->byte_cost &&
	    !rate_has_room(peak, rate_debt(peak, *(volatile __u64 *)&peak->full_at, now), bytes))
		return SXDP_RATE_LIMITED;
	if (rate_take(&rate->average, bytes, now, 0))
		return SXDP_RATE_LIMITED;
	if (peak->byte_cost)
		rate_take(peak, bytes, now, 1);
	return SXDP_ADMITTED;
}

#endif
