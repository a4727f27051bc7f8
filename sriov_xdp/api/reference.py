"""Pages of the reference, each made from rows alone: `python -m sriov_xdp.api.reference` writes them into docs/."""

import json
from collections.abc import Callable
from pathlib import Path

from sriov_xdp.api import mailbox_page
from sriov_xdp.api.verdicts import EXPLANATIONS
from sriov_xdp.datapath.abi import DELIVERED, Verdict
from sriov_xdp.vswitch.policy import SETTINGS, Override, Setting

_MADE = "by `python -m sriov_xdp.api.reference`"
_POLICY = f"""# Settings of a policy

Made from `sriov_xdp/vswitch/policy.py` {_MADE}.

A switch, a port group and a port (`adapters[].policy`) may each say any of them; a port what its group lets it override
(`overrides_allowed`). What a level does not say it inherits: a port from its group, a group from its switch, a switch the default.
`switch set`, `port-group set` and `port set` take each as an option, and `inherit` to take it back; `port show` tells who said
what.

| in a configuration, below `policy` | option | values | default | override | what it does |
|---|---|---|---|---|---|
"""
_VERDICTS = f"""# Verdicts

Made from `sriov_xdp/api/verdicts.py` {_MADE}; `sriov-xdp verdicts` says the same.

Each frame has one, counted at the port where it entered the switch: `drops` in `vf show` and `pf show`, in metrics the label
`reason` of `sriovxdp_vf_drops_total` and `sriovxdp_uplink_drops_total`. A frame that a device refused in the end is counted as
`redirect_error` of the port that it should have left by.

| verdict | kind | what became of the frame | what to do |
|---|---|---|---|
"""


def policy_page() -> str:
    """What a policy holds."""
    kinds = ", ".join(f"`{kind}`" for kind in Override)
    lines = "".join(_setting_line(setting) for setting in SETTINGS.values())
    return f"{_POLICY}{lines}\nKinds of override: {kinds} (of `vlan`: the port's VLAN).\n"


def _setting_line(setting: Setting) -> str:
    values = " or ".join(f"`{choice}`" for choice in setting.values.choices) or setting.values.words
    default = json.dumps(setting.values.plain(setting.default)).strip('"')
    override = f"`{setting.kind}`" if setting.kind else "none needed"
    return f"| `{'.'.join(setting.path)}` | `{setting.option}` | {values} | `{default}` | {override} | {setting.text} |\n"


def verdicts_page() -> str:
    """What becomes of frames."""
    return _VERDICTS + "".join(_verdict_line(verdict) for verdict in Verdict)


def _verdict_line(verdict: Verdict) -> str:
    kind = "delivered" if verdict in DELIVERED or verdict is Verdict.TO_HOST else "drop"
    row = EXPLANATIONS[verdict]
    return f"| `{verdict.label}` | {kind} | {row.meaning} | {row.remedy} |\n"


PAGES: dict[str, Callable[[], str]] = {"mailbox.md": mailbox_page.page, "policy.md": policy_page, "verdicts.md": verdicts_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(__file__).resolve().parents[2] / "docs" / name).write_text(page())
