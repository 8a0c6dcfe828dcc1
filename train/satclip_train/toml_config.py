"""Sections of a TOML configuration as checked dataclasses, and error messages that name the key."""

import dataclasses
import difflib
import functools
import reprlib
import tomllib
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from satclip_index.errors import ConfigError, require_extra

with require_extra("pydantic", "train"):
    import pydantic
    import pydantic.dataclasses
    from annotated_types import Ge, Gt, Lt, MinLen
    from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

if typing.TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Section = TypeVar("Section")

# A boolean is not a number, and "3" is not 3: hence Strict. A whole number may stand where a float is expected.
Number = Annotated[float, Strict()]
"""Any finite number."""
Positive = Annotated[float, Strict(), Gt(0)]
NonNegative = Annotated[float, Strict(), Ge(0)]
Share = Annotated[float, Strict(), Ge(0), Lt(1)]
Count = Annotated[int, Strict(), Ge(1)]
CountOrZero = Annotated[int, Strict(), Ge(0)]
Integer = Annotated[int, Strict()]
AtLeast = Ge
NonEmpty = MinLen(1)
rule = pydantic.model_validator(mode="after")
"""Marks the method that checks several fields of a section together."""

_MAX_LISTED = 5
"""Mistakes listed in one message; a file written for another program has dozens."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
def section(cls: type[Section]) -> type[Section]:
    """Return the class as a frozen, keyword-only dataclass whose fields are checked on creation.

    Types and ranges are declared on the fields. A constraint on several fields is checked by one method, marked with
    :data:`rule`, that returns self or raises ValueError with text that begins with the fields' names.
    Wrong values raise ConfigError, both here and in :func:`read_section`.
    """
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    checked: Any = pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=config)(cls)
    checked.__init__ = _raising_config_error(checked.__init__, checked)
    return typing.cast("type[Section]", checked)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the contents of a TOML file, or raise ConfigError."""
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"No configuration at {path}. Start from one in train/configs/.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {error}.") from None


def read_section(path: str | Path, cls: type[Section]) -> Section:
    """Return a TOML file as a section.

    Parameters
    ----------
    path : str or Path
        Its tables and keys are the fields of ``cls``.
    cls : type
        A class decorated with :func:`section`.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing, of the wrong type or out of range. Each
        mistake is listed with its key, its value and what was expected.
    """
    values = read_toml(path)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_summary(error, cls)}") from None


def _raising_config_error(init: Callable[..., None], cls: type) -> Callable[..., None]:
    @functools.wraps(init)
    def checked(self: object, **values: object) -> None:
        try:
            init(self, **values)
        except ValidationError as error:
            raise ConfigError(f"{cls.__name__}: {_summary(error, cls)}") from None

    return checked


def _summary(error: ValidationError, cls: type) -> str:
    """Return one line that lists the mistakes, unknown keys first: they often explain the missing ones."""
    details = sorted(error.errors(include_url=False), key=lambda detail: not _is_unknown_key(detail))
    # A list is reported as too short when its items are wrong; those are reported themselves.
    details = [detail for detail in details if detail["type"] != "too_short" or not detail["input"]]
    lines = [_describe(detail, cls) for detail in details[:_MAX_LISTED]]
    if len(details) > _MAX_LISTED:
        lines.append(f"And {len(details) - _MAX_LISTED} more.")
    return " ".join(lines)


def _is_unknown_key(detail: "ErrorDetails") -> bool:
    return detail["type"] == "unexpected_keyword_argument" or detail["loc"][-1:] == ("[key]",)


def _describe(detail: "ErrorDetails", cls: type) -> str:
    """Return one mistake as a sentence."""
    location = [part for part in detail["loc"] if part != "[key]"]
    key = _dotted(location)
    if _is_unknown_key(detail):
        return f"unknown key {key}; {_suggestion(location, cls)}"
    if detail["type"] == "missing":
        return f"{key} is missing."
    if detail["type"] == "value_error":  # a rule over several fields
        return f"{key}{'.' if key else ''}{detail['ctx']['error']}."
    return f"{key} is {_shown(detail['input'])}; expected {_expected(_type_at(location, cls))}."


def _dotted(location: list[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _shown(value: object) -> str:
    """Return a value as it is written in TOML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else reprlib.repr(value)


def _suggestion(location: list[int | str], cls: type) -> str:
    """Return which key was meant: one spelled alike in the same table, or the same one in another table."""
    *parent, key = location
    siblings = _keys(_type_at(parent, cls))
    if near := difflib.get_close_matches(str(key), siblings, n=1):
        return f"did you mean {near[0]}?"
    if elsewhere := [path for path in _leaves(cls) if path.rpartition(".")[2] == key]:
        return f"did you mean {elsewhere[0]}?"
    return f"expected {_either(siblings)}."


def _type_at(location: list[int | str], hint: Any) -> Any:
    """Return the declared type of the value at a location."""
    for part in location:
        bare = _bare(hint)
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            hint = typing.get_type_hints(bare, include_extras=True)[str(part)]
        else:  # an item of a tuple, or a value of a table
            hint = typing.get_args(bare)[0 if typing.get_origin(bare) is tuple else 1]
    return hint


def _bare(hint: Any) -> Any:
    """Return a type without its constraints."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _keys(hint: Any) -> list[str]:
    """Return the keys of a table."""
    bare = _bare(hint)
    if dataclasses.is_dataclass(bare):
        return [field.name for field in dataclasses.fields(bare)]
    return [str(name) for name in typing.get_args(typing.get_args(bare)[0])]


def _leaves(cls: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key that is not a table."""
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _expected(hint: Any) -> str:
    """Return the type and the range of a field in words."""
    bare, constraints = _bare(hint), typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    if typing.get_origin(bare) is Literal:
        return _either([repr(value) for value in typing.get_args(bare)])
    words = {float: "a number", int: "a whole number", str: "text", Path: "a path", tuple: "a list"}
    noun = words.get(typing.get_origin(bare) or bare, "a table")
    ranges = []
    for constraint in constraints:
        match constraint:
            case Ge(ge=least):
                ranges.append(f"of at least {least}")
            case Gt(gt=below):
                ranges.append(f"above {below}")
            case Lt(lt=above):
                ranges.append(f"less than {above}")
            case MinLen(min_length=least):
                ranges.append(f"of at least {least} item{'s' if least > 1 else ''}")
    return f"{noun} {' and '.join(ranges)}".strip()


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
