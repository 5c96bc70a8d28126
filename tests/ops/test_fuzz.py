import pytest
from fuzz import check_loss, check_vmf
from helpers.problems import SEED


@pytest.mark.parametrize("number", range(40))
def test_a_random_loss_is_as_good_as_plain_torch_s(device, number):
    check_loss(SEED, number, device)


@pytest.mark.parametrize("number", range(20))
def test_random_logits_are_mpmath_s(device, number):
    check_vmf(SEED, number, device)
