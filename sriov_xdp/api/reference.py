"""The reference of what a policy holds, as a page: `python -m sriov_xdp.api.reference` prints docs/policy.md. Made from the rows
alone."""

from sriov_xdp.vswitch.policy import SETTINGS, Override, Setting

_HEAD = """# Settings of a policy

Made from `sriov_xdp/vswitch/policy.py` by `python -m sriov_xdp.api.reference > docs/policy.md`.

A switch, a port group and a port (`adapters[].policy`) may each say any of them; a port what its group lets it override
(`overrides_allowed`). What a level does not say it inherits: a port from its group, a group from its switch, a switch the default.
`switch set`, `port-group set` and `port set` take each as an option, and `inherit` to take it back; `port show` tells who said
what.

| in a configuration, below `policy` | option | values | default | override | what it does |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    kinds = ", ".join(f"`{kind}`" for kind in Override)
    lines = "".join(_line(setting) for setting in SETTINGS.values())
    return f"{_HEAD}{lines}\nKinds of override: {kinds} (of `vlan`: the port's VLAN).\n"


def _line(setting: Setting) -> str:
    values = " or ".join(f"`{choice}`" for choice in setting.choices) or f"0 to {setting.most:,}"
    default = setting.default if setting.choices else f"{setting.default:,}"
    return f"| `{'.'.join(setting.path)}` | `{setting.option}` | {values} | `{default}` | `{setting.kind}` | {setting.text} |\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  # it is what the module is for
