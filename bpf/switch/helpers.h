/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's helpers that are used, by their numbers in linux/bpf.h. bcc declares most of them itself, so those have its names;
 * what it wraps is declared here. */
#ifndef SXDP_HELPERS_H
#define SXDP_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>

/* Comes back only when there is no program at that place. */
static long (*const tail_call)(void *ctx, void *programs, __u32 index) = (void *)BPF_FUNC_tail_call;

/* Of a frame in one buffer or several. Since Linux 5.18. */
static long (*const xdp_load_bytes)(void *ctx, __u32 offset, void *to, __u32 bytes) = (void *)BPF_FUNC_xdp_load_bytes;

#endif
