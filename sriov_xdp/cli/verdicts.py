"""`sriov-xdp verdicts`: what the counters' names mean. Needs no daemon."""

import click

from sriov_xdp.cli.output import fail, json_option, show_json

UNKNOWN = 3


@click.command()
@click.argument("name", required=False)
@json_option
def verdicts(name: str | None, as_json: bool) -> None:
    """Explains what becomes of frames: each verdict that `vf show`, `pf show` and metrics count, and what to do about it."""
    from sriov_xdp.api.verdicts import EXPLANATIONS

    documents = [
        {"verdict": verdict.label, "meaning": row.meaning, "remedy": row.remedy}
        for verdict, row in EXPLANATIONS.items()
        if name in (None, verdict.label)
    ]
    if not documents:
        fail(UNKNOWN, f"verdict {name}: there is none of that name; `sriov-xdp verdicts` lists all")
    if as_json:
        show_json(documents)
        return
    for document in documents:
        click.echo(click.style(document["verdict"], bold=True))
        for text in (document["meaning"], document["remedy"]):
            click.echo(click.wrap_text(text, width=100, initial_indent="  ", subsequent_indent="  "))
