"""Registries of what a setting selects by name, such as the backbone."""

import difflib
from typing import Generic, TypeVar

from config.errors import MAX_SHOWN, ConfigError, shown

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name.

    Args:
        key: the config key whose value is one of the names, for error messages.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Registers an entry. Raises ValueError if the name is already registered."""
        if name in self._entries:
            raise ValueError(f"{self.key} {name!r} is already registered")
        self._entries[name] = entry

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """Returns the entry of a name. Raises ConfigError, listing all names, if there is none."""
        if name not in self._entries:
            close = difflib.get_close_matches(name[:MAX_SHOWN], self._entries, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ConfigError(
                f"{self.key} = {shown(name)}: must be one of {', '.join(self.names())}{hint}"
            )
        return self._entries[name]
