"""What an HDF5 file of weights or of a training state may consist of."""

import math
from typing import TypeAlias

import h5py

from config.errors import Hdf5Error, RefusedHdf5Error
from config.hdf5_file.encoding import REFERENCE, Content, claimed_bytes

LONGEST_NAME, MOST_LEVELS = 1000, 50
# The longest attribute that HDF5 stores beside an object.
ATTRIBUTE_BYTES = 64 * 1024
ATTRIBUTE_TYPES = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM}
# Kinds of NumPy dtypes of arrays: floats, signed and unsigned integers, and booleans.
ARRAY_KINDS, ARRAY_ITEM_BYTES = "fiub", 8

Item: TypeAlias = "h5py.Group | h5py.Dataset"


def examine(file: h5py.File, content: Content) -> None:
    """Raises Hdf5Error at the first thing that is refused. Reads no arrays."""
    properties = file.id.get_create_plist()
    if properties.get_sizes() != (8, 8) or properties.get_userblock():
        raise RefusedHdf5Error("is refused: its addresses do not have 64 bits, or start elsewhere")
    waiting: list[h5py.Group] = [file["/"]]
    seen, array_bytes = set(), 0
    while waiting:
        group = waiting.pop()
        _examine_attributes(group, content)
        names = list(group)
        if len(set(names)) < len(names):
            raise Hdf5Error(f"is damaged: a name occurs twice in {group.name}")
        for name in names:
            check_name(name, group.name)
            if group.name.count("/") > MOST_LEVELS:
                raise RefusedHdf5Error(
                    f"is refused: its groups are nested more than {MOST_LEVELS} deep"
                )
            path = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RefusedHdf5Error(
                    f"is refused: {path} is a link to another place or another file"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise RefusedHdf5Error(
                    f"is refused: {path} occurs in the file under another name, too"
                )
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                array_bytes += _examine_array(item, path)
                if array_bytes > len(content):  # HDF5 lets them lie in the same place.
                    raise RefusedHdf5Error("is refused: its arrays would be larger than the file")
                _examine_attributes(item, content)
            else:
                raise RefusedHdf5Error(f"is refused: {path} is neither a group nor an array")


def _examine_array(array: h5py.Dataset, path: str) -> int:
    """Returns the size of the values in bytes."""
    properties = array.id.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        raise RefusedHdf5Error(f"is refused: the values of {path} are in another file")
    if properties.get_nfilters():
        raise RefusedHdf5Error(
            f"is refused: {path} is compressed; `h5repack -f NONE IN OUT` writes an uncompressed "
            "file"
        )
    dtype, shape = array.dtype, array.shape
    if dtype.kind not in ARRAY_KINDS or dtype.itemsize > ARRAY_ITEM_BYTES or shape is None:
        raise RefusedHdf5Error(f"is refused: {path} holds {dtype}, not numbers")
    size = math.prod(shape) * array.id.get_type().get_size()
    if array.id.get_storage_size() < size:
        raise Hdf5Error(f"is damaged: values of {path} are missing")
    return size


def _examine_attributes(item: Item, content: Content) -> None:
    for name in item.attrs:
        check_name(name, item.name)
        attribute = item.attrs.get_id(name)
        if attribute.shape is None:
            raise RefusedHdf5Error(f"is refused: attribute {name} of {item.name} has no value")
        count, kind = math.prod(attribute.shape), attribute.get_type().get_class()
        size = count * attribute.get_type().get_size()
        if kind not in ATTRIBUTE_TYPES or size > ATTRIBUTE_BYTES:
            raise RefusedHdf5Error(
                f"is refused: attribute {name} of {item.name} is neither text nor numbers, or too "
                f"large ({size:,} bytes)"
            )
        if attribute.dtype.kind == "O":
            # HDF5 would read beyond references that are stored as smaller ones.
            if attribute.get_storage_size() != count * REFERENCE.itemsize:
                raise Hdf5Error(f"is damaged (the texts of {name} of {item.name})")
            claimed = claimed_bytes(content, h5py.h5o.get_info(item.id).addr, name, count)
            if claimed is None:
                raise RefusedHdf5Error(
                    f"is refused: attribute {name} of {item.name} is not stored beside it; "
                    "`h5repack IN OUT` writes a file in which it is"
                )
            if claimed > len(content):
                raise RefusedHdf5Error(
                    f"is refused: the texts of {name} of {item.name} would be longer than the file"
                )
            item.attrs[name]  # Raises if they are not where the references lead.


def check_name(name: str | bytes, where: str) -> None:
    """Raises Hdf5Error if a name is not UTF-8, is very long, or would control a terminal."""
    if isinstance(name, bytes) or not name.isprintable() or len(name) > LONGEST_NAME:
        raise RefusedHdf5Error(f"is refused: a name in {where} is not text ({ascii(name)[:80]})")
