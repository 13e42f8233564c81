"""axe-core, which finds faults of accessibility: fetched for the tests, no part of the project."""

import base64
import hashlib
import io
import tarfile
import urllib.request

import pytest

ADDRESS = "https://registry.npmjs.org/axe-core/-/axe-core-4.10.3.tgz"
SHA512 = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="
SECONDS = 30


def axe_script(folder):
    """The JavaScript of axe-core, kept in a folder; skips the test if it cannot be fetched."""
    kept = folder / f"{SHA512[:12]}.tgz"
    if not kept.exists():
        try:
            with urllib.request.urlopen(ADDRESS, timeout=SECONDS) as answer:
                kept.write_bytes(answer.read())
        except OSError as error:
            pytest.skip(f"axe-core cannot be fetched from {ADDRESS}: {error}")
    content = kept.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        kept.unlink()
        pytest.fail(f"{ADDRESS} has another checksum than that of the version that was chosen")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()
