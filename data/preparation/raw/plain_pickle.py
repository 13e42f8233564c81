"""Reading of pickles from untrusted sources.

Loading an untrusted pickle can execute arbitrary code, so `safe_unpickle` accepts only lists,
tuples, dicts, strings and numbers.
"""

import collections
import io
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from config.errors import UserError, shortened, shown

# An empty list or an entry of the memo takes a byte in a pickle and about a hundred in memory.
# Referents have at least 7 bytes per list, dict, tuple or mark and per entry of the memo, even if
# all expressions are single words and only what is needed is stored. Small pickles may have more.
MIN_BYTES, ALWAYS_ALLOWED = 6, 1000


class UnreadablePickleError(UserError):
    """A pickle is damaged or contains more than plain data; the message names the file."""


def safe_unpickle(content: bytes, path: str | os.PathLike) -> Any:
    """Decodes a pickle of plain data without executing anything that it contains.

    Accepted are None, booleans, numbers, strings, bytes, lists, tuples, and dicts whose keys are
    strings: what the files of the data sets consist of. Nothing else is needed, and so time and
    memory stay proportional to the size of the pickle. The strings of Python 2 are decoded as
    UTF-8, or as Latin-1 if that fails.

    Args:
        content: the pickle.
        path: file it comes from, for error messages.

    Raises:
        UnreadablePickleError: the pickle refers to anything else, which the message names, or is
            damaged.
    """
    try:
        try:
            return _PlainUnpickler(content, encoding="utf-8").load()
        except UnicodeDecodeError:
            return _PlainUnpickler(content, encoding="latin1").load()
    except _RefusedError as error:
        raise UnreadablePickleError(f"{path}: {error}; download the file again") from None
    except Exception as error:  # A damaged pickle can raise any exception.
        raise UnreadablePickleError(
            f"{path}: not a readable pickle ({type(error).__name__}: {shortened(str(error))}); "
            "download the file again"
        ) from None


class _RefusedError(Exception):
    """The pickle contains something that is not plain data."""


# Instructions of pickles that make sets, call something, change an object, or make buffers. A view
# of a buffer takes two bytes in a pickle and more than a hundred in memory.
_OBJECTS = (
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.BUILD),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def _refuse_object(unpickler: Any) -> None:
    raise _RefusedError(
        "refused: the pickle contains sets, buffers or objects, not only plain data"
    )


def _with_text_keys(code: bytes, keys: slice) -> dict[int, Callable[[Any], None]]:
    """The instruction `code`, which fills a dict from the stack, for keys that are strings.

    The hash of a tuple of some bytes, which contains the same tuple twice and so on, would take
    years, and numbers can be chosen so that their hashes collide.

    Args:
        code: the instruction.
        keys: where on the stack it expects the keys.
    """

    def load(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if type(key) is not str:
                raise _RefusedError(f"refused: {shown(key)} is the key of a dict, not a string")
        pickle._Unpickler.dispatch[code[0]](unpickler)

    return {code[0]: load}


# Instructions that take much more memory than bytes: LIST, DICT and TUPLE follow a mark.
_CONTAINERS = (
    *(pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT),
    *(pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
)
_MEMO = (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE)


def _counted(codes: Sequence[bytes]) -> dict[int, Callable[[Any], None]]:
    """Instructions of which there may be one per `MIN_BYTES` bytes of the pickle."""

    def counted(code: bytes) -> Callable[[Any], None]:
        def load(unpickler: Any) -> None:
            unpickler.count[codes] += 1
            if unpickler.count[codes] > unpickler.most:
                raise _RefusedError("refused: it consists of little more than empty lists")
            pickle._Unpickler.dispatch[code[0]](unpickler)

        return load

    return {code[0]: counted(code) for code in codes}


class _PlainUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python.

    The one in C allocates up to 34 GB for a number in the pickle, and no instruction can be taken
    from it. Without instructions that call something, nothing that was read can be copied.
    """

    dispatch = (
        pickle._Unpickler.dispatch
        | dict.fromkeys((code[0] for code in _OBJECTS), _refuse_object)
        | _with_text_keys(pickle.SETITEM, slice(-2, -1))
        | _with_text_keys(pickle.SETITEMS, slice(None, None, 2))
        | _with_text_keys(pickle.DICT, slice(None, None, 2))
        | _counted(_CONTAINERS)
        | _counted(_MEMO)
    )

    def __init__(self, content: bytes, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self.count: collections.Counter[Sequence[bytes]] = collections.Counter()
        self.most = len(content) // MIN_BYTES + ALWAYS_ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        raise _RefusedError(
            f"refused: the pickle refers to {shortened(f'{module}.{name}')}, but only lists, "
            "dicts, strings and numbers are accepted, because anything else could execute code"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(
            f"refused: the pickle refers to an object outside the file ({shown(pid)})"
        )
