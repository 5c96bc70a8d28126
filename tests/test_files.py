import errno

import pytest

from paco._files import whole_file


def test_a_file_and_those_beside_it_appear_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.onnx"
    with whole_file(path) as file:
        assert file.name == path.name
        file.write_text("a")
        file.with_name("a.onnx.data").write_text("b")
        assert not path.exists()
    assert {p.name: p.read_text() for p in path.parent.iterdir()} == {
        "a.onnx": "a",
        "a.onnx.data": "b",
    }


def test_what_a_killed_process_left_is_not_taken_along(tmp_path):
    remains = tmp_path / ".a.partial"
    remains.mkdir()
    (remains / "a").write_text("half")
    (remains / "b").write_text("half")
    with whole_file(tmp_path / "a") as file:
        file.write_text("whole")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "whole"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"No space left .*: '.*/a'$"),
        (FileNotFoundError(errno.ENOENT, "No such file", "g++"), r"No such file: 'g\+\+'$"),
        (OSError("something"), r"^something$"),
        (RuntimeError("another"), r"^another$"),
    ],
)
def test_a_failure_leaves_what_was_and_says_its_own(tmp_path, error, message):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error), match=message), whole_file(tmp_path / "a") as file:
        file.write_text("new")
        raise error
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_device_that_is_full_names_the_file(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(OSError, match=r"No space left .*: '.*/a'"), whole_file(path) as file:
        file.symlink_to("/dev/full")
        file.write_bytes(b"x")
    assert not list(tmp_path.iterdir())
