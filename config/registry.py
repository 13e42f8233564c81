"""Registries: choices that a config key makes by name, such as the backbone."""

import difflib
from typing import Generic, TypeVar

from config.schema import ConfigError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by the name that a config key selects them with.

    Args:
        key: the config key, for messages.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Registers an entry. Raises ValueError if the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.key} {name!r} is registered already")
        self._entries[name] = entry

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The entry of a name. Raises ConfigError that lists the names if there is none."""
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ConfigError(
                f'{self.key} = "{name}": must be one of {", ".join(self.names())}{hint}'
            )
        return self._entries[name]
