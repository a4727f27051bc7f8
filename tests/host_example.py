"""The configuration that tests change, and what is said of what is wrong with it."""

import pytest

from sriov_xdp.api.config import parse
from sriov_xdp.pf.errors import Invalid

EXAMPLE = """\
version: 1
pfs:
  - name: pf0
    uplink: wire0            # an existing netdev; leave out for a switch without uplink
    num_vfs: 8               # 1..256
switches:
  - name: vSwitch0
    kind: standard
    pf: pf0
    mtu: 1500
    policy:
      security: {promiscuous: reject, mac_changes: reject, forged_transmits: reject}
      deny_reply: silent     # silent | nack
    port_groups:
      - name: web
        vlan: {access: 100}            # none | access: N | trunk: [N, "A-B"]
      - name: lab
        vlan: none
        policy: {security: {mac_changes: accept, forged_transmits: accept}, deny_reply: nack}
guests:
  - name: vm1
    netns: vm1               # created when missing; removed on detach only if created by us
    adapters:
      - {name: eth0, kind: vf, port_group: web, mac: "02:00:00:00:01:01", datapath: auto}   # mac optional
"""
ADAPTER = '      - {name: eth0, kind: vf, port_group: web, mac: "02:00:00:00:01:01", datapath: auto}   # mac optional\n'
WEB = '        vlan: {access: 100}            # none | access: N | trunk: [N, "A-B"]\n'


def example(old: str, new: str) -> str:
    """The example with one change."""
    assert 1 == EXAMPLE.count(old), old
    return EXAMPLE.replace(old, new)


def problems(text: str) -> list[str]:
    """What is said of a configuration that is refused, a line each, in the file host.yaml."""
    with pytest.raises(Invalid) as refusal:
        parse(text, "host.yaml")
    return str(refusal.value).splitlines()


def guests(*adapters: str) -> str:
    """A host whose guests vm0, vm1... have these adapters, in groups web (VLAN 100), db (200) and both (trunk)."""
    groups = "{name: web, vlan: {access: 100}}, {name: db, vlan: {access: 200}}, {name: both, vlan: {trunk: [100, 200]}}"
    head = f"version: 1\npfs: [{{name: pf0, num_vfs: 8}}]\nswitches: [{{name: s, pf: pf0, port_groups: [{groups}]}}]\nguests:\n"
    return head + "".join(f"- {{name: vm{number}, adapters: [{adapter}]}}\n" for number, adapter in enumerate(adapters))
