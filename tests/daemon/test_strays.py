"""A representor that was moved to another namespace belongs to no VF any more; when it comes back it is no way into the host."""

import os

from sriov_xdp.lab.host import Lab, host_config, run, wait_until


def test_one_that_was_moved_away_and_back_is_put_down() -> None:
    with Lab("st") as lab:
        guest, elsewhere = lab.namespace("g"), lab.namespace("e")
        daemon = lab.daemon(host_config(None, [{"guest": guest.name, "port_group": "lan"}], [{"name": "lan"}]))
        representor = str(daemon.vf_of(guest.name)["representor"])
        run("ip", "link", "set", representor, "netns", elsewhere.name)
        wait_until(lambda: not [vf for vf in daemon.ask("vf", "list") if vf["guest"]], "it is unplugged")
        elsewhere.ip("link", "set", representor, "netns", str(os.getpid()))
        run("ip", "link", "set", representor, "up")
        wait_until(lambda: "state DOWN" in run("ip", "link", "show", representor), "it is put down")
        assert "is marked as ours, and belongs to no VF; it was put down" in daemon.log()
        daemon.stop()
        daemon.start()
        assert representor not in run("ip", "-br", "link"), "the next start removes it"
