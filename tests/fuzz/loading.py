"""What every damaged weight file must lead to: weights, or a sentence and an unchanged network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from config.errors import UserError


@contextmanager
def loaded_or_refused(model: Any) -> Iterator[None]:
    """Asserts that a block raises nothing but UserError, and that the network is unchanged then.

    If the block raises nothing, the network gets the weights back that it had before.
    """
    before, refusal = model.get_weights(), None
    try:
        yield
    except UserError as error:
        refusal = str(error)
    changed = [
        (variable, value)
        for variable, value in zip(model.weights, before, strict=True)
        if not np.array_equal(variable, value)
    ]
    for variable, value in changed:
        variable.assign(value)
    if refusal is not None:
        sentence, *line_to_paste = refusal.split("\n")
        assert sentence
        assert all(line.startswith("  --set ") for line in line_to_paste)
        assert not changed, f"{len(changed)} weights changed although: {refusal}"
