"""`sriov-vf watch`: the driver as a daemon in the guest.

Turns `ip link set eth0 address …` into a mailbox request, asks for what else the interface is to receive (receiving.py), and
re-applies the device's state after a reset. On a refusal the kind decides: vsphere keeps the guest's MAC (guest and device
disagree, as the reference describes), iavf puts the device's back (as Linux' iavf driver does). Lives through restarts of the
host's daemon.
"""

import logging
import selectors
import time
from enum import StrEnum

from sriov_xdp.guest import interface
from sriov_xdp.guest.driver import VfDriver
from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.guest.receiving import Ask, Receiving
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Links
from sriov_xdp.host.monitor import LinkMonitor
from sriov_xdp.mailbox.messages import AddressType, EventCode, Status

_log = logging.getLogger("sriov_vf")
_RETRY_SECONDS, _LOOK_SECONDS = 0.2, 0.5
_MOST_REQUESTS = 64  # in a row


class Kind(StrEnum):
    """Whose driver to imitate."""

    VSPHERE = "vsphere"
    IAVF = "iavf"


class Watcher:
    """One VF of this guest."""

    def __init__(self, vf: str, device: str | None, kind: Kind) -> None:
        self._vf = vf
        self._kind = kind
        self._links = Links()
        self._monitor = LinkMonitor()
        link = interface.find(self._links, vf, device)
        self._ifindex, self._name = link.ifindex, link.name
        self._seen_mac = link.mac
        self._driver: VfDriver | None = None
        self._receiving = Receiving()
        self._told_refused: set[bytes] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._monitor, selectors.EVENT_READ, self._on_link)

    def run(self) -> None:
        """Until the interface is gone or the process ends."""
        while self._links.find(self._ifindex) is not None:
            if self._driver is None:
                self._connect()
            for key, _events in self._selector.select(_LOOK_SECONDS if self._driver else _RETRY_SECONDS):
                key.data()
            self._follow_addresses()
        _log.info("%s: interface %s is gone", self._vf, self._name)

    def _connect(self) -> None:
        try:
            self._driver = VfDriver(self._vf)
        except VfDriverError:
            return
        self._selector.register(self._driver, selectors.EVENT_READ, self._on_mailbox)
        _log.info("%s: connected, device MAC %s", self._vf, self._driver.resources.mac.hex(":"))
        self._receiving.start_over()
        self._request_mac_when_changed()
        self._follow_addresses()

    def _disconnect(self, error: VfDriverError) -> None:
        _log.warning("%s", error)
        if self._driver:
            self._selector.unregister(self._driver)
            self._driver.close()
            self._driver = None
        time.sleep(_RETRY_SECONDS)

    def _on_mailbox(self) -> None:
        assert self._driver is not None
        try:
            event = self._driver.pending_event()
            if event and event.code is EventCode.RESET_IMPENDING:
                self._apply_device_mac(self._driver.negotiate().mac, "reset")
                self._receiving.start_over()
        except VfDriverError as error:
            self._disconnect(error)

    def _on_link(self) -> None:
        """Only the last state counts; what we set ourselves equals what the device says."""
        self._monitor.drain()
        self._request_mac_when_changed()

    def _request_mac_when_changed(self) -> None:
        link = self._links.find(self._ifindex)
        if link is None or self._driver is None or link.mac == self._seen_mac:
            return
        former, wanted = bytes.fromhex(self._seen_mac.replace(":", "")), bytes.fromhex(link.mac.replace(":", ""))
        self._seen_mac = link.mac
        if wanted == self._driver.resources.mac:
            return
        try:
            status = self._driver.set_mac(wanted, former)
        except VfDriverError as error:
            self._disconnect(error)
            return
        if status == Status.SUCCESS:
            _log.info("%s: MAC %s requested, the PF said success", self._vf, link.mac)
            return
        _log.warning("%s: MAC %s refused, status %d", self._vf, link.mac, status)
        if self._kind is Kind.IAVF:
            self._apply_device_mac(self._driver.resources.mac, "refusal")

    def _follow_addresses(self) -> None:
        """Asks for what the interface is to receive beside its own address, and gives back what it is not any more. The kernel
        tells of such lists when it is asked only."""
        link = self._links.find(self._ifindex)
        if link is None or self._driver is None:
            return
        try:
            wanted = interface.wanted(link) - {self._driver.resources.mac}
            for _request in range(_MOST_REQUESTS):
                ask = self._receiving.next(wanted, time.monotonic())
                if ask is None:
                    return
                self._carry_out(self._driver, ask)
        except VfDriverError as error:
            self._disconnect(error)
        except HostError as error:
            _log.warning("%s: %s", self._name, error)

    def _carry_out(self, driver: VfDriver, ask: Ask) -> None:
        verb = driver.add_address if ask.is_wanted else driver.remove_address
        status = verb(ask.mac, AddressType.EXTRA)
        is_success = status == Status.SUCCESS
        self._receiving.answered(ask, is_success=is_success, now_seconds=time.monotonic())
        what, mac = "receives for" if ask.is_wanted else "gave back", ask.mac.hex(":")
        if is_success:
            self._told_refused.discard(ask.mac)
            _log.info("%s: %s %s", self._vf, what, mac)
        elif ask.mac not in self._told_refused:  # once, though it is asked again and again
            self._told_refused.add(ask.mac)
            _log.warning("%s: %s: the PF refused it, status %d", self._vf, mac, status)

    def _apply_device_mac(self, mac: bytes, why: str) -> None:
        link = self._links.find(self._ifindex)
        if link is None:
            return
        self._seen_mac = mac.hex(":")
        interface.set_mac(self._links, link, mac)
        _log.info("%s: %s has the device's MAC %s (%s)", self._vf, link.name, mac.hex(":"), why)
