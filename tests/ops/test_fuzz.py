import pytest
from fuzz import check
from helpers.problems import SEED


@pytest.mark.parametrize("number", range(40))
def test_a_random_problem_is_solved_as_well_as_by_plain_torch(device, number):
    check(SEED, number, device)
