/* SPDX-License-Identifier: GPL-2.0-only */
/* Wanted by bcc by name; its content comes from the kernel's user-space API or is not needed. */
