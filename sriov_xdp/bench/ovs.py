"""Open vSwitch's userspace datapath as an arm of the benchmark: a database and a switch of our own in the lab's folder.

Where it is installed it need not run, and one that runs is left alone.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sriov_xdp.lab.host import run, wait_until

_PROGRAMS = ("ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl")
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_END_SECONDS = 10
_DATAPATH_DEVICE = "ovs-netdev"  # one a namespace, made by the switch and left behind when it ends


def is_installed() -> bool:
    """Whether there is an Open vSwitch to compare with."""
    return _SCHEMA.exists() and all(shutil.which(program) for program in _PROGRAMS)


class OpenVswitch:
    """A running switch daemon."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "db.sock"

    def vsctl(self, *arguments: str) -> None:
        """Raises LabError."""
        run("ovs-vsctl", f"--db=unix:{self._socket}", "--timeout=10", *arguments)

    def connect(self, bridge: str, ends: list[str]) -> None:
        """A learning bridge of the userspace datapath with these devices."""
        self.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
        for end in ends:
            self.vsctl("add-port", bridge, end)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[OpenVswitch]:
    """Database and switch, ended with the context; their bridges with them."""
    folder.mkdir()
    run("ovsdb-tool", "create", str(folder / "conf.db"), str(_SCHEMA))
    environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVS_LOGDIR": str(folder), "OVS_DBDIR": str(folder)}
    switch = OpenVswitch(folder)
    with contextlib.ExitStack() as stack, (folder / "log").open("w") as log:
        if not Path(f"/sys/class/net/{_DATAPATH_DEVICE}").exists():  # else it is another switch's
            stack.callback(run, "ip", "link", "del", _DATAPATH_DEVICE, check=False)

        def start(*command: str) -> None:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait, _END_SECONDS)
            stack.callback(process.terminate)

        start("ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{folder / 'db.sock'}")
        wait_until((folder / "db.sock").exists, "the database of Open vSwitch listens")
        switch.vsctl("--no-wait", "init")
        start("ovs-vswitchd", f"unix:{folder / 'db.sock'}")
        yield switch
