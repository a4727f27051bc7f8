"""Settings as documents say them: models and types that are made from the rows of a policy. Pure. For documents.py, and for the
commands of the admin socket.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from sriov_xdp.api.sentences import Form, one_of
from sriov_xdp.vswitch.policy import INHERIT, SETTINGS, Setting
from sriov_xdp.vswitch.values import Choice, Kind, MacPattern, Number, Patterns, Structure, Truth

# Of all documents: no key that is not known, and never changed.
DOCUMENT = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def or_inherit(parse: Callable[[Any], Any]) -> BeforeValidator:
    """What parse takes, or the word by which a level says it no more."""
    return BeforeValidator(lambda value: value if value == INHERIT else parse(value))


def of_settings(name: str, base: type[BaseModel], type_of: Callable[[Setting], Any]) -> Any:
    """A model in the shape of a level's policy: a field for each part of a setting's path, None where it is not said. type_of:
    the type of a setting's values in it."""
    return _nested(name, base, {setting.path: type_of(setting) for setting in SETTINGS.values()})


def _nested(name: str, base: type[BaseModel], kinds: dict[tuple[str, ...], Any]) -> Any:
    members: dict[str, Any] = {}
    for key in dict.fromkeys(path[0] for path in kinds):
        inner = {path[1:]: kind for path, kind in kinds.items() if path[0] == key}
        if () in inner:
            members[key] = (inner[()] | None, None)
        else:
            model = _nested(f"{name}_{key}", base, inner)
            members[key] = (model, model())
    return create_model(name, __base__=base, __doc__=" ".join(name.split("_")), **members)


def said_in(document: BaseModel) -> dict[str, Any]:
    """What a document made of of_settings() says, by setting."""
    found = {}
    for setting in SETTINGS.values():
        value: Any = document
        for key in setting.path:
            value = getattr(value, key)
        if value is not None:
            found[setting.name] = value
    return found


def written_as(setting: Setting) -> Any:
    """The type of a setting's values, as configurations write them."""
    return _type_of(setting.values, setting.name)


def _type_of(kind: Kind, name: str) -> Any:
    """name: of a model that is made for it."""
    match kind:
        case Choice(of):
            return of
        case Number(most, least):
            return Annotated[int, Field(strict=True, ge=least, le=most)]
        case Truth():
            return Annotated[bool, Field(strict=True)]
        case Patterns(most):
            return Annotated[list[_Pattern], Field(max_length=most), AfterValidator(lambda found: tuple(sorted(set(found))))]
        case Structure(of, kinds):
            members = {item.name: (_type_of(kinds[item.name], item.name), _default_of(item)) for item in fields(of)}
            model = create_model(name, __config__=DOCUMENT, __doc__=" ".join(name.split("_")), **cast("Any", members))
            return Annotated[model, AfterValidator(lambda said: of(**{key: getattr(said, key) for key in kinds}))]
        case other:
            raise TypeError(f"{name}: no document says {other.words}")


def _default_of(member: Any) -> Any:
    """Of a field of a dataclass, as pydantic says that there is none."""
    return ... if member.default is MISSING else member.default


def _parse_pattern(value: Any) -> MacPattern:
    if not isinstance(value, str):
        raise ValueError("no text")
    return MacPattern.parse(value)


_Pattern = Annotated[
    MacPattern,
    BeforeValidator(_parse_pattern),
    Form("a unicast address, or the first bits of one and zeros, as in 02:00:00:00:01:01 or 02:00:5e:00:01:00/40"),
]


def _parse_with(setting: Setting) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        try:
            return value if setting.values.has(value) else setting.parse(value)
        except TypeError as error:  # pydantic takes a ValueError for a finding
            raise ValueError(str(error)) from error

    return parse


def written_or_inherited(setting: Setting) -> Any:
    """As written_as(), or `inherit`, for commands."""
    words = one_of([*(setting.values.choices or [setting.values.words]), INHERIT])
    return Annotated[Any, or_inherit(_parse_with(setting)), Form(words)]
