"""The host configuration file: YAML, strict. Unknown keys, duplicate keys, values of another form and contradictions are errors
with line, path, what was observed and expected, and a remedy; all are reported at once.

The schema is in documents.py; pf.validation adds what needs the whole document, yaml_text is what is read as YAML, sentences says
what does not fit the schema. Pure but for load(). Used by the admin socket's commands and the command line.
"""

import hashlib
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from sriov_xdp.api import sentences, yaml_text
from sriov_xdp.api.documents import HostDocument
from sriov_xdp.api.findings import Finding, Path, Unreadable
from sriov_xdp.api.well_formed import AnyPath, Doubt, well_formed
from sriov_xdp.api.yaml_nodes import Node
from sriov_xdp.api.yaml_text import Reading, read_file
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.state import validation
from sriov_xdp.pf.state.intent import HostIntent

MAX_FINDINGS = 5000  # lines; a file with more mistakes is none that a person wrote


def examine(text: str) -> tuple[HostIntent | None, list[Finding]]:
    """A configuration from its text, or all that is wrong with it, by line."""
    reading = yaml_text.read(text)
    if reading.root is None:
        return None, reading.findings or [Finding(None, (), "empty; expected a mapping; begin it with `version: 1`")]
    return _examine(yaml_text.plain(reading.root), reading)


def parse(text: str, file: str | None = None) -> HostIntent:
    """A configuration from its text; file: its name, for messages. Raises Invalid with every problem, a line each."""
    return _intent_of(*examine(text), file)


def from_content(content: Any) -> HostIntent:
    """A configuration from parsed YAML or JSON. Raises Invalid."""
    return _intent_of(*_examine(content, Reading(None, [])), None)


def _intent_of(intent: HostIntent | None, findings: list[Finding], file: str | None) -> HostIntent:
    if intent is None:
        raise Invalid("\n".join(finding.at(file) for finding in findings))
    return intent


def _examine(content: Any, reading: Reading) -> tuple[HostIntent | None, list[Finding]]:
    root, findings = reading.root, list(reading.findings)
    doubt = Doubt(finding.path for finding in findings)
    if not isinstance(content, dict):
        text = f"{sentences.observed(content, root)}; expected a mapping; begin it with `version: 1`"
        return None, [*findings, Finding(root.line if root else None, (), text)]
    document: HostDocument | None
    content = _without_groups_beyond_limit(content, findings, doubt, root)
    try:
        document = HostDocument.model_validate(content)
    except ValidationError as error:
        findings += sentences.findings(HostDocument, error, root, MAX_FINDINGS)
        document = well_formed(HostDocument, content, error, doubt) if error.error_count() <= MAX_FINDINGS else None
    if document:
        findings += _contradictions(document, root, doubt)
    if document and not findings:
        return document.intent(), []
    findings.sort(key=lambda finding: finding.line or 0)
    return None, _first_of(findings)


def _without_groups_beyond_limit(
    content: dict[Any, Any], findings: list[Finding], doubt: Doubt, root: Node | None
) -> dict[Any, Any]:
    """A trunk of many VLANs is large as a value, so too many port groups do not even become values."""
    switches = content.get("switches")
    lists = [(number, _groups_in(switch)) for number, switch in enumerate(switches if isinstance(switches, list) else [])]
    count = sum(len(groups) for _number, groups in lists)
    if count <= validation.MAX_PORT_GROUPS_OF_HOST:
        return content
    path: Path = ("switches",)
    findings.append(Finding(root.line_of(path) if root else None, path, validation.too_many_groups(count)))
    kept, room = list(switches or []), validation.MAX_PORT_GROUPS_OF_HOST
    for number, groups in lists:
        if len(groups) > room:
            kept[number] = {**kept[number], "port_groups": groups[:room]}
            doubt.add(("switches", number, "port_groups"))
        room -= min(room, len(groups))
    return {**content, "switches": kept}


def _groups_in(switch: Any) -> list[Any]:
    groups = switch.get("port_groups") if isinstance(switch, dict) else None
    return groups if isinstance(groups, list) else []


def _contradictions(document: HostDocument, root: Node | None, doubt: Doubt) -> list[Finding]:
    """What does not go together, where nothing that it is concluded from is doubtful."""
    places, found = document.adapter_places(), []
    for problem in validation.find(document.intent()):
        path = _path_in_file(problem.path, places)
        if any(doubt.covers(_path_in_file(other, places)) for other in (problem.path, *problem.rests_on)):
            continue
        exact: Path = tuple(part for part in path if part is not None)
        found.append(Finding(root.line_of(exact) if root else None, exact, problem.text))
        if len(found) == MAX_FINDINGS:
            break
    return found


_ADAPTER_KEYS = {"interface": "name"}
_GUEST_KEYS = {"guest": "name", "netns": "netns"}


def _path_in_file(path: AnyPath, places: list[tuple[int, int]]) -> AnyPath:
    """Of a value that pf.validation names: an adapter's is below its guest."""
    if path[0] != "adapters":
        return path
    _adapters, number, name = path
    guest, adapter = places[number] if isinstance(number, int) else (None, None)
    if name in _GUEST_KEYS:
        return "guests", guest, _GUEST_KEYS[str(name)]
    return "guests", guest, "adapters", adapter, _ADAPTER_KEYS.get(str(name), name)


def _first_of(findings: list[Finding]) -> list[Finding]:
    if len(findings) < MAX_FINDINGS:
        return findings
    return [*findings[:MAX_FINDINGS], Finding(None, (), "too many problems for one list; mend these first")]


def load(path: FilePath) -> tuple[HostIntent, str]:
    """A configuration file and its fingerprint. Raises Invalid."""
    try:
        text = read_file(path)
    except Unreadable as error:
        raise Invalid(error.finding.at(str(path))) from error
    return parse(text, str(path)), fingerprint(text)


def fingerprint(text: str) -> str:
    """Names a version of the file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
