/* SPDX-License-Identifier: GPL-2.0-only */
/* What bcc expects of a kernel tree, reduced to what XDP and tc programs need: these programs use only the kernel's
 * user-space API, so no linux-headers package is wanted. BCC_KERNEL_SOURCE points here. */
#ifndef SXDP_KCONFIG_H
#define SXDP_KCONFIG_H

#include <linux/types.h>

#define CONFIG_BPF_SYSCALL 1

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef __kernel_size_t size_t;
typedef unsigned long uintptr_t;
typedef _Bool bool;

#endif
