"""When an address is given up whose connections are lost again and again."""


class MirrorError(Exception):
    """An address does not provide the file."""


class ConnectionLostError(Exception):
    """A connection ended early; the data received so far are kept."""


class Attempts:
    """The attempts to download a file from one address.

    Args:
        most: failed attempts in a row without progress after which the address is given up, and
            times that the download may start over without getting further than before.
        size: bytes that exist already.
    """

    def __init__(self, most: int, size: int) -> None:
        self.most = self._left = self._restarts = most
        self._size = self._furthest = size

    def add(self, fault: ConnectionLostError, size: int) -> None:
        """Counts an attempt that failed and left `size` bytes.

        Raises:
            MirrorError: the address is given up.
        """
        if size > self._furthest:
            self._restarts = self.most
        elif size < self._size:
            self._restarts -= 1
        self._left = self._left - 1 if size == self._size else self.most
        self._size, self._furthest = size, max(self._furthest, size)
        if self._left <= 0:
            raise MirrorError(f"{fault}, {self.most} times in a row") from None
        if self._restarts <= 0:
            raise MirrorError(f"{fault}, and the download started over {self.most} times") from None
