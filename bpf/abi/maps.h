/* SPDX-License-Identifier: GPL-2.0-only */
/* Every map of the switch, a line each: MAP(mark, name, kind, key, value, entries). The loader makes them by this list, pins them
 * by their names, and puts each into the programs in place of its mark (switch/handles.h).
 *
 * Kinds: VALUE, an array of one element that is memory of user space too, and whose address programs know; MEMORY, the same with
 * more elements, which are looked up; ARRAY, HASH, DEVMAP; DEVMAPS, a hash of devmaps; STAGES, programs to jump to.
 */
#ifndef SXDP_ABI_MAPS_H
#define SXDP_ABI_MAPS_H

#include "abi/limits.h"
#include "abi/numbers.h"
#include "abi/types.h"

#define SXDP_MAPS(MAP)                                                            \
	MAP(10, ports, VALUE, __u32, struct sxdp_ports, 1)                        \
	MAP(11, fdb, VALUE, __u32, struct sxdp_fdb, 1)                            \
	MAP(12, cpus, MEMORY, __u32, struct sxdp_cpu, SXDP_EACH_CPU)              \
	MAP(13, fdb_overflow, HASH, __u64, __u32, SXDP_MAX_FDB_ENTRIES)           \
	MAP(14, trunks, ARRAY, __u32, struct sxdp_trunk, SXDP_MAX_PORTS)          \
	MAP(15, guards, ARRAY, __u32, struct sxdp_guard, SXDP_MAX_PORTS)          \
	MAP(16, loops, ARRAY, __u32, struct sxdp_return, SXDP_MAX_PORTS)          \
	MAP(17, members, HASH, __u32, struct sxdp_members, SXDP_MAX_VLANS)        \
	MAP(18, devices, DEVMAP, __u32, __u32, SXDP_MAX_PORTS)                    \
	MAP(19, floods, DEVMAPS, __u32, __u32, SXDP_MAX_VLANS)                    \
	MAP(20, xdp_stages, STAGES, __u32, __u32, SXDP_STAGES)                    \
	MAP(21, tc_stages, STAGES, __u32, __u32, SXDP_STAGES)                     \
	MAP(22, allowed, ARRAY, __u32, struct sxdp_allowed, SXDP_MAX_PORTS)       \
	MAP(23, subscriptions, HASH, __u64, __u32, SXDP_MAX_FDB_ENTRIES)          \
	MAP(24, rates, ARRAY, __u32, struct sxdp_rate, SXDP_MAX_PORTS)            \
	MAP(25, shared, HASH, __u64, struct sxdp_shared, SXDP_MAX_FDB_ENTRIES)    \
	MAP(26, samples, MEMORY, __u32, struct sxdp_samples, SXDP_EACH_CPU)       \
	MAP(27, heard, ARRAY, __u32, struct sxdp_trunk, SXDP_MAX_PORTS)

#endif
