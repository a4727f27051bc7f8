"""A configuration file says all that an operator can set: what is exported comes back as it was."""

import json

from hypothesis import given, settings
from intents import hosts

from sriov_xdp.api import config
from sriov_xdp.api.views import host_document
from sriov_xdp.api.yaml_text import dump
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.plan import plan


def exported(host: HostIntent) -> str:
    """As the command line prints what came through the admin socket."""
    return dump(json.loads(json.dumps(host_document(host))))


@settings(deadline=None, max_examples=100)
@given(host=hosts())
def test_an_exported_host_comes_back_as_it_was(host: HostIntent) -> None:
    back = config.parse(exported(host))
    assert host == back
    assert [] == plan(host, back)


@settings(deadline=None, max_examples=25)
@given(host=hosts(), other=hosts())
def test_two_hosts_differ_when_and_only_when_there_is_something_to_do(host: HostIntent, other: HostIntent) -> None:
    assert (host == other) is (plan(host, config.parse(exported(other))) == [])
