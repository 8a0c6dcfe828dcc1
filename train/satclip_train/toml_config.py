"""A TOML file read into dataclasses, and every mistake in it named."""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from satclip_index.errors import ConfigError

Section = TypeVar("Section")


def _build(section: type[Section], values: object, prefix: str) -> Section:
    """Return a dataclass filled from a TOML table, refusing what it does not know."""
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.')} is {values!r}; expected a table.")
    hints = typing.get_type_hints(section)
    known = {item.name: item for item in dataclasses.fields(section)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key {prefix}{key}; expected some of {', '.join(known)}.")
    for key, item in known.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and key not in values:
            raise ConfigError(f"{prefix}{key} is missing.")
    return section(**{key: _convert(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _convert(hint: Any, value: object, key: str) -> Any:
    """Return a TOML value as the type a field wants."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, f"{key}.")
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(typing.get_args(hint)[0], item, f"{key}[{at}]") for at, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: _convert(typing.get_args(hint)[1], item, f"{key}.{name}") for name, item in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    wanted = {float: "a number", int: "a whole number", str: "text", Path: "a path"}.get(hint, "another kind of value")
    if isinstance(hint, types.GenericAlias):
        wanted = "a list" if origin is tuple else "a table"
    raise ConfigError(f"{key} is {value!r}; expected {wanted}.")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file says, or raise ConfigError."""
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"No configuration at {path}. Start from one in train/configs/.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {error}.") from None
