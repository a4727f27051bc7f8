/* SPDX-License-Identifier: GPL-2.0-only */
/* What the loader puts into the programs: maps, by the list of abi/maps.h, and two numbers. Each stands in the bytecode as a 64-bit
 * immediate with a mark, which the loader replaces (sriov_xdp/datapath/bytecode.py); bcc compiles, and owns no map.
 */
#ifndef SXDP_HANDLES_H
#define SXDP_HANDLES_H

#include "abi/maps.h"

/* A VALUE's is the address of its element, any other's the map for a helper. */
#define SXDP_HANDLE(mark, name, kind, key, value, entries)                        \
	static __always_inline void *name##_handle(void)                          \
	{                                                                         \
		void *handle;                                                     \
                                                                                  \
		asm volatile("%0 = 0x5d8b5d8b5d8b00" #mark " ll" : "=r"(handle)); \
		return handle;                                                    \
	}

SXDP_MAPS(SXDP_HANDLE)

/* The PF's number: each uplink has its own copy of the programs, so that it needs no look-up by ifindex, whatever ifindex it
 * has. */
static __always_inline __u64 uplink_slot(void)
{
	__u64 slot;

	asm volatile("%0 = 0x5d8b5d8b5d8b0001 ll" : "=r"(slot));
	return slot;
}

/* Of net_device.ifindex, from the running kernel's BTF. */
static __always_inline __u64 ifindex_offset(void)
{
	__u64 offset;

	asm volatile("%0 = 0x5d8b5d8b5d8b0002 ll" : "=r"(offset));
	return offset;
}

#endif
