"""The promise of csrc/library.cpp: what calls an operator today can call it in the next release.

tests/data/schemas.txt lists the public operators as they were released. A release that appends an
argument with a default replaces the line; nothing else may change.
"""

from pathlib import Path

import pytest
import torch

import paco  # noqa: F401  (loads the operators)

SCHEMAS = (Path(__file__).parent / "data" / "schemas.txt").read_text().splitlines()
# How the backward pass works is nobody's business but Autograd's, and no saved file asks for the
# build, of which a release may tell more. The halves of the loss are paco.distributed's.
PRIVATE = {
    "paco::bcl_loss_backward",
    "paco::bcl_loss_forward",
    "paco::build_info",
    "paco::paco_loss_backward",
    "paco::paco_loss_combine",
    "paco::paco_loss_forward",
    "paco::paco_loss_partial",
    "paco::paco_loss_partial_backward",
    "paco::vmf_logits_backward",
    "paco::vmf_logits_forward",
}


def promised(text: str) -> torch._C.FunctionSchema:
    return torch._C.parse_schema(text)


@pytest.mark.parametrize("text", SCHEMAS, ids=lambda text: text.split("(")[0])
def test_schema_takes_every_call_that_it_took(text):
    name = promised(text).name.removeprefix("paco::")
    current = getattr(torch.ops.paco, name).default._schema
    assert current.is_backward_compatible_with(promised(text)), f"{current}\nbreaks\n{text}"


def test_every_public_operator_is_listed():
    registered = {
        name.split(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("paco::")
    }
    assert registered - PRIVATE == {promised(text).name for text in SCHEMAS}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("float beta=1.", "float beta=2."),
        ("float beta=1., float gamma=1.", "float gamma=1., float beta=1."),
        ("float alpha, float temperature", "float temperature"),
        ("Tensor features", "Tensor rows"),
        ("Tensor features, ", ""),
        ("SymInt? num_anchors", "Tensor? num_anchors"),
        ("Tensor features", "Tensor extra, Tensor features"),
        ("-> Tensor", "-> (Tensor, Tensor)"),
    ],
)
def test_the_check_sees_a_change_that_breaks(old, new):
    text = next(text for text in SCHEMAS if "paco_loss" in text)
    assert old in text
    assert not promised(text.replace(old, new)).is_backward_compatible_with(promised(text))


def test_the_check_allows_an_argument_with_a_default():
    for text in SCHEMAS:
        extended = text.replace(") ->", ", bool extra=False) ->")
        assert promised(extended).is_backward_compatible_with(promised(text))
