/* SPDX-License-Identifier: GPL-2.0-only */
/* The helpers that bcc declares, so that clang alone can check the programs. Only for `make lint`. */
#ifndef SXDP_LINT_BCC_H
#define SXDP_LINT_BCC_H

#include <linux/bpf.h>
#include <linux/types.h>

void *bpf_map_lookup_elem(void *map, void *key);
__u32 bpf_get_smp_processor_id(void);
__u64 bpf_ktime_get_ns(void);
long bpf_redirect_map(void *map, __u64 key, __u64 flags);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_redirect_peer(__u32 ifindex, __u64 flags);
long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags);
long bpf_skb_vlan_push(struct __sk_buff *skb, __u16 vlan_proto, __u16 vlan_tci);
long bpf_skb_vlan_pop(struct __sk_buff *skb);
long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len);
long bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len);
long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff, __u64 flags);
long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta);
__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx);
long bpf_probe_read_kernel(void *dst, __u32 size, const void *unsafe_ptr);

#endif
