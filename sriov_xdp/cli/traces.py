"""`sriov-xdp trace`: what would become of a frame; and what becomes of real ones."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import click

from sriov_xdp.cli import completion
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, daemon_options, json_option, show_json
from sriov_xdp.shown import printable

_LAST_VLAN, _LAST_PORT, _MOST_BYTES, _MOST_FRAMES = 4095, 65535, 9216, 1_000_000
_MOST_SECONDS = 86_400
_LOOK_SECONDS = 0.1


@click.command()
@click.option("--from", "sender", required=True, help="A VF, or a PF for its wire.", shell_complete=completion.vf_names)
@click.option("--frame", help="The whole frame in hexadecimal digits, from its destination on.")
@click.option("--to", help="Its destination instead, of a frame that is made up.")
@click.option("--source", help="Its source.  [default: the VF's effective MAC; for the wire a stranger's]")
@click.option("--vlan", type=Number(least=0, most=_LAST_VLAN), help="With an 802.1Q tag.")
@click.option("--tcp", metavar="ADDRESS:PORT", help="With a TCP segment to it.")
@click.option("--udp", metavar="ADDRESS:PORT", help="With a UDP datagram to it.")
@click.option("--payload-bytes", type=Number(least=0, most=_MOST_BYTES), help="So much behind the Ethernet header.")
@click.option("--live", is_flag=True, help="Real frames of the port instead, as they pass, until Ctrl-C.")
@click.option("--count", type=Number(least=1, most=_MOST_FRAMES), help="With --live: ends after so many.")
@click.option("--seconds", type=Number(least=1, most=_MOST_SECONDS), help="With --live: ends after so long.")
@click.option("--write", type=click.File("wb"), help="With --live: a pcapng file, with what became of each frame as its comment.")
@daemon_options
@json_option
def trace(
    sender: str, live: bool, count: int | None, seconds: int | None, write: BinaryIO | None, as_json: bool, **frame: Any
) -> None:
    """Says what would become of a frame, rule by rule, and which line of which policy decides; nothing is sent. Or shows real
    frames that enter by a port or come to it: as many as can be read, the first bytes of each."""
    if live:
        if any(value is not None for value in frame.values()):
            raise click.UsageError("--live: real frames come as they are; leave --frame, --to and what goes with them out")
        _show_live(_frames(sender, seconds), count, _writer(write, sender), as_json=as_json)
        return
    if (count, seconds, write) != (None, None, None):
        raise click.UsageError("--count, --seconds, --write: are of real frames; say --live with them")
    document = ask("trace", {"sender": sender, **{key: value for key, value in frame.items() if value is not None}})
    if as_json:
        show_json(document)
        return
    for line in lines_of(document):
        click.echo(printable(line))


def _show_live(
    frames: Iterator[dict[str, Any]], count: int | None, keep: Callable[[dict[str, Any]], None], *, as_json: bool
) -> None:
    """Ends with Ctrl-C, or after so many."""
    with contextlib.suppress(KeyboardInterrupt):
        for number, frame in enumerate(frames, start=1):
            keep(frame)
            click.echo(json.dumps(frame) if as_json else printable(line_of(frame)))
            if number == count:
                return


def _frames(sender: str, seconds: int | None) -> Iterator[dict[str, Any]]:
    """As they come, for so long. What was missed is said."""
    cursor: list[int] | None = None
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        answer = ask("trace-live", {"sender": sender, **({"cursor": cursor} if cursor is not None else {})})
        cursor = answer["cursor"]
        yield from answer["frames"]
        if answer["lost"]:
            click.echo(f"(at least {answer['lost']} frames came too fast to be read)", err=True)
        time.sleep(_LOOK_SECONDS)


def _writer(stream: BinaryIO | None, port: str) -> Callable[[dict[str, Any]], None]:
    if stream is None:
        return lambda _frame: None
    from sriov_xdp.cli.captures import CaptureFile

    file = CaptureFile(stream, port)

    def keep(frame: dict[str, Any]) -> None:
        file.write(bytes.fromhex(frame["octets"]), frame["length"], frame["time"], way_of(frame))

    return keep


def line_of(frame: dict[str, Any]) -> str:
    """A real frame, for people."""
    clock = datetime.fromtimestamp(frame["time"], UTC).strftime("%H:%M:%S.%f")
    return f"{clock}  {way_of(frame):<32}  {frame['frame']}"


def way_of(frame: dict[str, Any]) -> str:
    """Where it came from and went, and its verdict."""
    target = f" -> {frame['leaves']}" if frame["leaves"] else ""
    return f"{frame['enters']}{target}: {frame['verdict']}"


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
