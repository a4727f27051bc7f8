"""`sriov-xdp trace`: what would become of a frame."""

from typing import Any

import click

from sriov_xdp.cli import completion
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, daemon_options, json_option, printable, show_json

_LAST_VLAN, _LAST_PORT, _MOST_BYTES = 4095, 65535, 9216


@click.command()
@click.option("--from", "sender", required=True, help="A VF, or a PF for its wire.", shell_complete=completion.vf_names)
@click.option("--frame", help="The whole frame in hexadecimal digits, from its destination on.")
@click.option("--to", help="Its destination instead, of a frame that is made up.")
@click.option("--source", help="Its source.  [default: the VF's effective MAC; for the wire a stranger's]")
@click.option("--vlan", type=Number(least=0, most=_LAST_VLAN), help="With an 802.1Q tag.")
@click.option("--tcp", metavar="ADDRESS:PORT", help="With a TCP segment to it.")
@click.option("--udp", metavar="ADDRESS:PORT", help="With a UDP datagram to it.")
@click.option("--payload-bytes", type=Number(least=0, most=_MOST_BYTES), help="So much behind the Ethernet header.")
@daemon_options
@json_option
def trace(sender: str, as_json: bool, **frame: Any) -> None:
    """Says what would become of a frame, rule by rule, and which line of which policy decides. Nothing is sent."""
    document = ask("trace", {"sender": sender, **{key: value for key, value in frame.items() if value is not None}})
    if as_json:
        show_json(document)
        return
    for line in lines_of(document):
        click.echo(printable(line))


def lines_of(document: dict[str, Any]) -> list[str]:
    """For people."""
    vlan = f", VLAN {document['vlan']}" if document["vlan"] else ""
    lines = [f"frame    {document['frame']}", f"enters   {document['enters']}{vlan}"]
    width = max(len(rule["rule"]) for rule in document["rules"])
    words = {True: "ok  ", False: "STOP"}
    lines += [f"  {words[rule['passed']]}  {rule['rule']:<{width}}  {rule['text']}" for rule in document["rules"]]
    lines.append(f"verdict  {document['verdict']}: {document['meaning']}")
    if document["decided_by"]:
        lines.append(f"because  {document['decided_by']}")
    lines += [f"leaves   {one['by']}: {one['frame']}" for one in document["leaves"]]
    if document["reaches_host"]:
        lines.append("leaves   to the host")
    if not document["leaves"] and not document["reaches_host"]:
        lines.append(f"remedy   {document['remedy']}")
    return lines
