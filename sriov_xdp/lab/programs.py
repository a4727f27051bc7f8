"""Programs of a few instructions: XDP programs that a guest might run (pass, drop, send every frame back: a VNF in small), and
the bare redirects that ours are compared with.

Made by hand so that neither compiler nor object files are needed. Attached by a link that ends with its context.
"""

import contextlib
import os
import struct
from collections.abc import Iterator

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import BPF_F_XDP_HAS_FRAGS, AttachType, ProgramType
from sriov_xdp.host import clsact
from sriov_xdp.host.links import Links
from sriov_xdp.lab.host import Namespace, entered

_MOV_IMM, _MOV_REG, _ADD_IMM, _JGT_REG, _EXIT = 0xB7, 0xBF, 0x07, 0x2D, 0x95
_LOAD_U32, _LOAD_U16, _STORE_U32, _STORE_U16 = 0x61, 0x69, 0x63, 0x6B
_LOAD_IMM64, _PSEUDO_MAP_FD, _CALL = 0x18, 1, 0x85
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
REDIRECT, REDIRECT_PEER, _REDIRECT_MAP = 23, 155, 51  # enum bpf_func_id
_SKB_STORE_BYTES = 9
_STACK = 10  # the register that points to its end
_SKB_MARK, _SKB_PRIORITY, _SKB_TSTAMP = 8, 32, 152  # struct __sk_buff
_STORE_U64 = 0x7B
_ETHERNET_BYTES = 14
_FILTER = "guest"


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """One of a BPF program's, by its registers."""
    return struct.pack("<BBhi", code, source << 4 | target, offset, immediate)


def constant(action: int) -> bytes:
    """Answers every frame with one action."""
    return instruction(_MOV_IMM, 0, immediate=action) + instruction(_EXIT)


def redirect(call: int, ifindex: int) -> bytes:
    """Answers with REDIRECT or REDIRECT_PEER of (ifindex, 0)."""
    return (
        instruction(_MOV_IMM, 1, immediate=ifindex)
        + instruction(_MOV_IMM, 2)
        + instruction(_CALL, immediate=call)
        + instruction(_EXIT)
    )


def redirect_to_slot(device_map: int, slot: int) -> bytes:
    """bpf_redirect_map(devices, slot, 0) and nothing else; device_map: a descriptor."""
    return (
        instruction(_LOAD_IMM64, 1, _PSEUDO_MAP_FD, immediate=device_map)
        + instruction(0)
        + instruction(_MOV_IMM, 2, immediate=slot)
        + instruction(_MOV_IMM, 3)
        + instruction(_CALL, immediate=_REDIRECT_MAP)
        + instruction(_EXIT)
    )


def hairpin() -> bytes:
    """Swaps the addresses and sends the frame back where it came from."""
    return _swap_and(XDP_TX)


def swap_and_drop() -> bytes:
    """Undoes a hairpin's swap. Live frames of BPF_PROG_RUN use their pages again as the last program left them, so whoever
    takes them at the end must put the addresses back."""
    return _swap_and(XDP_DROP)


def _swap_and(action: int) -> bytes:
    swap_loads = [(_LOAD_U32, 5, 0), (_LOAD_U16, 0, 4), (_LOAD_U32, 7, 6), (_LOAD_U16, 8, 10)]
    swap_stores = [(_STORE_U32, 7, 0), (_STORE_U16, 8, 4), (_STORE_U32, 5, 6), (_STORE_U16, 0, 10)]
    body = [
        instruction(_LOAD_U32, 2, 1, 0),
        instruction(_LOAD_U32, 3, 1, 4),
        instruction(_MOV_REG, 4, 2),
        instruction(_ADD_IMM, 4, immediate=_ETHERNET_BYTES),
        instruction(_JGT_REG, 4, 3, len(swap_loads) + len(swap_stores) + 2),
        *(instruction(code, register, 2, offset) for code, register, offset in swap_loads),
        *(instruction(code, 2, register, offset) for code, register, offset in swap_stores),
    ]
    return b"".join(body) + constant(action) + constant(XDP_DROP)


def _signed(value: int) -> int:
    """The low 32 bits as an immediate."""
    return int(struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFF))[0])


def smuggle(ifindex: int, *, ether_type: int | None = None, mark: int = 0, priority: int = 0, tstamp: int = 0) -> bytes:
    """For tc: says something else of a frame than the kernel believes (its type, in the bytes), marks it, and gives it to whoever
    is behind a device, past the ordinary way."""
    marking = [
        instruction(_MOV_IMM, 2, immediate=mark),
        instruction(_STORE_U32, 1, 2, _SKB_MARK),
        instruction(_MOV_IMM, 2, immediate=priority),
        instruction(_STORE_U32, 1, 2, _SKB_PRIORITY),
        instruction(_LOAD_IMM64, 2, immediate=_signed(tstamp)),
        instruction(0, immediate=_signed(tstamp >> 32)),
        instruction(_STORE_U64, 1, 2, _SKB_TSTAMP),
    ]
    lying = [
        instruction(_MOV_IMM, 2, immediate=int.from_bytes((ether_type or 0).to_bytes(2, "big"), "little")),
        instruction(_STORE_U16, _STACK, 2, -2),
        instruction(_MOV_IMM, 2, immediate=_ETHERNET_BYTES - 2),
        instruction(_MOV_REG, 3, _STACK),
        instruction(_ADD_IMM, 3, immediate=-2),
        instruction(_MOV_IMM, 4, immediate=2),
        instruction(_MOV_IMM, 5),
        instruction(_CALL, immediate=_SKB_STORE_BYTES),
    ]
    return b"".join([*marking, *(lying if ether_type is not None else [])]) + redirect(REDIRECT_PEER, ifindex)


@contextlib.contextmanager
def attached_to_tc(guest: Namespace, device: str, code: bytes) -> Iterator[None]:
    """Runs a tc program on what comes in by a guest's interface, for a while; by a filter, as every kernel has them."""
    with entered(guest):
        links = Links()
        ifindex = links.by_name(device).ifindex
        links.close()
        program = libbpf.load_program(ProgramType.SCHED_CLS, "guest", code, attach=AttachType.NONE)
        clsact.attach(ifindex, program, _FILTER, (_FILTER,))
    os.close(program)
    try:
        yield
    finally:
        with entered(guest):
            clsact.detach(ifindex, (_FILTER,))


@contextlib.contextmanager
def attached(guest: Namespace, device: str, code: bytes, *, is_multi_buffer: bool = True) -> Iterator[None]:
    """Runs a program on a guest's interface for a while."""
    with contextlib.ExitStack() as stack:
        with entered(guest):
            stack.enter_context(on_host_device(device, code, is_multi_buffer=is_multi_buffer))
        yield


@contextlib.contextmanager
def on_host_device(device: str, code: bytes, *, is_multi_buffer: bool = True) -> Iterator[None]:
    """Runs a program on an interface of the namespace that the thread is in."""
    flags = BPF_F_XDP_HAS_FRAGS if is_multi_buffer else 0
    program = libbpf.load_program(ProgramType.XDP, "guest", code, attach=AttachType.XDP, flags=flags)
    links = Links()
    ifindex = links.by_name(device).ifindex
    links.close()
    link = libbpf.create_link(program, ifindex, AttachType.XDP, flags=libbpf.XDP_FLAGS_DRV_MODE)
    try:
        yield
    finally:
        os.close(link)
        os.close(program)
