/* SPDX-License-Identifier: GPL-2.0-only */
/* What a rule says of a frame: the verdict that ends its way, or one of the words below, which never leave the programs and stand
 * above all verdicts. A whole word, as BPF has no cheaper ones. */
#ifndef SXDP_ANSWER_H
#define SXDP_ANSWER_H

#include "abi/numbers.h"

typedef __u64 sxdp_answer;

enum sxdp_answer_of_rules {
	SXDP_ADMITTED = 0x100,      /* no rule objected so far */
	SXDP_COUNTED = 0x101,       /* it left, and was counted where it left */
	SXDP_DEFERRED = 0x102,      /* the tc program on the same device finishes and counts it */
	SXDP_PROBE = 0x103,         /* it has the form of a probe of the daemon's that came back */
	SXDP_FOR_HOST = 0x104,      /* it is the host's: for the uplink's own address, or a control frame from the wire */
};

#endif
