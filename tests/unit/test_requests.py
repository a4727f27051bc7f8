"""Documents of the admin socket: whatever they hold is a request or a problem that says what is wrong, never a fault."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sriov_xdp.api.commands import COMMANDS
from sriov_xdp.api.reading import problems_of
from sriov_xdp.api.requests import AttachVf, ListAudit, OnName, OnVf, SetGroup, SetPort, SetVf

KEYS = st.sampled_from(["vf", "name", "access", "trunk", "security"])
scalars = st.sampled_from(
    [None, True, 0, -1, 1e30, 10**30, 0.5, "", "pf0vf0", "lab", "a\0b", "\ud800", "02:00:00:00:01:01", "none"]
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=4
)
MODELS = sorted({model for model, _run in COMMANDS.values()}, key=lambda model: model.__name__)


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (ListAudit, {"limit": -1}),
        (ListAudit, {"limit": 0}),
        (ListAudit, {"limit": 1e30}),
        (ListAudit, {"limit": 10**30}),
        (ListAudit, {"limit": 1.0}),
        (ListAudit, {"limit": True}),
        (ListAudit, {"limit": "7"}),
        (ListAudit, {"limit": 10_001}),
        (ListAudit, {"vf": 7}),
        (OnVf, {"vf": None}),
        (OnVf, {"vf": ["pf0vf0"]}),
        (OnVf, {"vf": "pf0vf0\0"}),
        (OnVf, {"vf": "pf0vf\ud800"}),
        (OnName, {"name": "a\0b"}),
        (OnName, {"name": "\n"}),
        (OnName, {"name": {}}),
        (AttachVf, {"guest": "a\0", "port_group": "lab"}),
        (AttachVf, {"guest": "a", "port_group": "lab", "interface": "e\0"}),
        (AttachVf, {"guest": "a", "port_group": "lab", "interface": "e\x7f"}),
        (AttachVf, {"guest": "a", "port_group": "lab", "netns": "../x"}),
        (AttachVf, {"guest": "a", "port_group": "lab", "mac": 5}),
        (AttachVf, {"guest": "a", "port_group": "lab", "datapath": []}),
        (SetVf, {"vf": "pf0vf0", "mac": {"a": 1}}),
        (SetVf, {"vf": "pf0vf0", "link_state": 1}),
        (SetGroup, {"name": "lab", "vlan": 5}),
        (SetGroup, {"name": "lab", "vlan": {"trunk": "x" * 1000}}),
        (SetGroup, {"name": "lab", "vlan": {"access": 1e30}}),
        (SetPort, {"port": "pf0vf0", "policy": []}),
    ],
)
def test_wrong_values_are_problems_of_one_short_line_each(model: type, document: dict) -> None:
    with pytest.raises(ValidationError) as failed:
        model.model_validate_json(json.dumps(document))
    text = problems_of(model, failed.value)
    assert [True] * len(text.splitlines()) == [0 < len(line) < 400 for line in text.splitlines()]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 20_000, b'{"vf": ' * 5000, b"\xff", b"1" * 30_000, b'{"limit": NaN}', b"null"])
def test_bodies_that_are_no_document_are_problems(body: bytes) -> None:
    for model in MODELS:
        with pytest.raises(ValidationError):
            model.model_validate_json(body)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("model", MODELS)
def test_any_document_is_a_request_or_a_problem(model: type, data: st.DataObject) -> None:
    document = data.draw(st.dictionaries(st.sampled_from([*model.model_fields, "other"]), documents))
    text = "as it should be"
    try:
        model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        text = problems_of(model, error)
    assert text


def test_requests_as_the_command_line_sends_them_are_valid() -> None:
    attach = AttachVf.model_validate_json(
        json.dumps({"vf": "pf0vf3", "guest": "vm1", "port_group": "lab", "mac": "02:00:00:00:01:01", "netns": None})
    )
    assert ("pf0vf3", "02:00:00:00:01:01", "eth0") == (str(attach.vf), str(attach.mac), attach.interface)
    group = SetGroup.model_validate_json(
        json.dumps({"name": "lab", "policy": {"security": {}, "deny_reply": None}, "vlan": "none"})
    )
    assert "none" == str(group.vlan)
    assert 100 == ListAudit.model_validate_json(b"{}").limit
