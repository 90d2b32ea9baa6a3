"""Every class that PaddleNLP and transformers both have is converted, or it is said why not."""

from __future__ import annotations

import re

import pytest

from lacking import NOT_IN_PADDLENLP, WITHOUT_RULES, Lack, paddle_classes, reason, shared_names
from pphub.conversion.rules import load_families

_KINDS = re.compile(r"(Model|For[A-Z]\w+|LMHead\w*|Encoder|Decoder|WithProjection)$")


@pytest.fixture(scope="module")
def paddle_names() -> set[str]:
    return set(paddle_classes())


@pytest.fixture(scope="module")
def shared(paddle_names: set[str]) -> list[str]:
    """Without the bases of all classes of a family, which are no models."""
    import transformers

    torch = {name for name in dir(transformers) if _KINDS.search(name) and not name.endswith("rainedModel")}
    return shared_names(paddle_names, torch)


def test_every_class_that_both_have_is_converted_or_has_a_reason(shared: list[str]) -> None:
    converted = {name for family in load_families() for name in family.architectures}
    assert len(converted.intersection(shared)) > 100
    assert [name for name in shared if name not in converted and reason(name) is None] == []
    assert [name for name in converted if reason(name)] == []


@pytest.mark.parametrize("lack", WITHOUT_RULES, ids=str)
def test_a_reason_is_about_something_and_is_so(shared: list[str], lack: Lack) -> None:
    for pattern in lack.names:
        assert any(Lack((pattern,), "").covers(name) for name in shared), pattern
    assert lack.seen is None or lack.seen()


@pytest.mark.parametrize("family", NOT_IN_PADDLENLP)
def test_families_that_paddlenlp_does_not_have(paddle_names: set[str], family: str) -> None:
    import transformers

    assert all(hasattr(transformers, name) for name in NOT_IN_PADDLENLP[family])
    assert [name for name in paddle_names if name.lower().startswith(family.lower())] == []
