"""A few trials of every attack: nothing is lost."""

import pytest

from torture import attack
from torture.__main__ import attacks

ATTACKS = {f"{kind}: {one.name}": one for kind, one in attacks()}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_lost(name):
    one = ATTACKS[name]
    result = attack.make(one, one.few, seed=0)
    if result.why_not:
        pytest.skip(result.why_not)
    assert result.losses == ()
    assert result.tries == one.few
