"""Whatever is written for whatever field, what is said of it is a sentence of ours: observed, expected, remedy. All models of
configurations and of requests are tried, so a new field is tried, too."""

from collections.abc import Iterator
from typing import Any, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from sriov_xdp.api import commands, documents, requests
from sriov_xdp.api.findings import Path
from sriov_xdp.api.sentences import declared, expected, findings

WRONG: list[Any] = [
    None, True, False, -1, 0, 10**30, 1.5, float("nan"), "", "x y", "1", "0100", "yes", "\x00", "x" * 1000, [], [1], [[]], ["x"],
    {}, {"a": 1}, {"": {}}, {"name": []}, {"access": "x"}, {"trunk": [0]}, {"access": 1, "trunk": [1]},
]  # fmt: skip
JARGON = (
    "Input should",
    "Field required",
    "Extra inputs",
    "valid string",
    "valid integer",
    "Value error",
    "type=",
    "None",
    "<class",
)
MODELS = {model.__name__: model for model in [documents.HostDocument, *(model for model, _run in commands.COMMANDS.values())]}


def models_below(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Each model of a document, and where one of it may stand."""
    yield path, model
    for name in model.model_fields:
        what = declared(model, (name,))
        inner: Path = (name,)
        if get_origin(what.kind) is list:
            what, inner = declared(model, (name, 0)), (name, 0)
        if what.model and what.model is not model:
            for below, found in models_below(what.model):
                yield (*path, *inner, *below), found


FIELDS = [
    pytest.param(model, (*path, field), id=f"{name} {'.'.join(map(str, (*path, field)))}")
    for name, model in MODELS.items()
    for path, inner in models_below(model)
    for field in inner.model_fields
]


def document_with(path: Path, value: Any) -> Any:
    """A document that has only this value."""
    if not path:
        return value
    return {path[0]: document_with(path[1:], value)} if isinstance(path[0], str) else [document_with(path[1:], value)]


@pytest.mark.parametrize(("model", "path"), FIELDS)
def test_every_wrong_value_of_every_field_has_a_sentence(model: type[BaseModel], path: Path) -> None:
    for value in WRONG:
        try:
            model.model_validate(document_with(path, value))
        except ValidationError as error:
            found = [finding for finding in findings(model, error, None, 100) if finding.path[: len(path)] == path]
            for finding in found:
                observed, wanted, remedy = finding.text.split("; ", 2)
                assert observed
                assert wanted.startswith("expected ")
                assert wanted != "expected a text" or model is not documents.HostDocument, "a field needs a Form"
                assert remedy
                assert not [word for word in JARGON if word in finding.text], finding.text


@pytest.mark.parametrize(("model", "path"), FIELDS)
def test_every_field_says_what_it_expects(model: type[BaseModel], path: Path) -> None:
    what = declared(model, path)
    assert what.kind is not None
    assert expected(what)


def test_what_stands_where_nothing_is_declared_is_not_declared() -> None:
    paths: list[Path] = [("x",), ("pfs", "x"), ("pfs", 0, "x"), ("version", 0), ("version", "x"), ("pfs", 0, "name", "x")]
    assert [None] * len(paths) == [declared(documents.HostDocument, path).kind for path in paths]


SET_VF = "policy, vlan, vf, mac, port_group, port, link_state, datapath or mailbox"


def test_a_request_that_is_wrong_is_told_as_a_configuration_is() -> None:
    with pytest.raises(ValidationError) as refusal:
        requests.SetVf.model_validate({"vf": "pf0", "mac": "junk", "link_stat": "up"})
    assert [
        'vf: "pf0"; expected a PF\'s name, vf and a number, as in pf0vf3; correct it',
        'mac: "junk"; expected six hexadecimal bytes, as in 02:00:00:00:01:01, or inherit; correct it',
        f"link_stat: unknown key; expected {SET_VF}; write link_state, or remove it",
    ] == [str(finding) for finding in findings(requests.SetVf, refusal.value, None, 100)]
