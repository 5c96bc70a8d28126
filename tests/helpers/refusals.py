"""What a command line refuses: its parser's error, status 2."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refused(capsys: pytest.CaptureFixture[str], pattern: str) -> Iterator[None]:
    """The block has to end the program as argparse does, with a message that has the pattern."""
    with pytest.raises(SystemExit) as exit:
        yield
    assert exit.value.code == 2, exit.value.code
    said = capsys.readouterr().err
    assert re.search(rf": error: .*{pattern}", said.splitlines()[-1]), said
