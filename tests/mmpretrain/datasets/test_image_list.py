import os
from pathlib import Path

import numpy as np
import pytest
from helpers.image_files import write_image
from mmpretrain.registry import DATASETS

LOAD = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Nine images in three folders, one of them with a space in its name."""
    names = [f"images/{c}/{i}.png" for c in ("a", "b c", "d") for i in range(3)]
    for name in names:
        write_image(tmp_path / name)
    return names


def build(root: Path, text: str, **kwargs):
    (root / "list.txt").write_text(text)
    config = dict(type="ImageList", data_root=str(root), ann_file="list.txt", pipeline=LOAD)
    return DATASETS.build(config | dict(num_classes=3) | kwargs)


def text_of(names: list[str]) -> str:
    return "".join(f"{name} {i % 3}\n" for i, name in enumerate(names))


def test_it_has_the_list_s_images_and_labels(tmp_path, names, rng):
    rng.shuffle(names)
    pixels = {name: write_image(tmp_path / name) for name in names}
    dataset = build(tmp_path, text_of(names))
    assert len(dataset) == 9
    assert dataset.metainfo["classes"] == ("0", "1", "2")
    assert dataset.get_gt_labels().tolist() == [i % 3 for i in range(9)]
    for i, name in enumerate(names):
        image = dataset[i]["inputs"].permute(1, 2, 0).numpy()
        assert np.array_equal(image, pixels[name])


def test_a_prefix_and_class_names(tmp_path, names):
    dataset = build(
        tmp_path,
        "0.png 1\n1.png 0\n",
        data_prefix="images/b c",
        num_classes=None,
        classes=["cat", "dog"],
    )
    assert dataset.metainfo["classes"] == ("cat", "dog")
    assert dataset.get_data_info(0)["img_path"] == str(tmp_path / "images/b c/0.png")


def test_image_net_lt_has_image_net_s_classes(tmp_path, names):
    (tmp_path / "list.txt").write_text(f"{names[0]} 999\n")
    config = dict(type="ImageNetLT", data_root=str(tmp_path), ann_file="list.txt", test_mode=True)
    assert len(DATASETS.build(config).metainfo["classes"]) == 1000


@pytest.mark.parametrize(
    "line",
    [
        "images/a/0.png",
        "images/a/0.png one",
        "images/a/0.png 1.5",
        " 1",
        "a 1 2 x",
        "a --5",
        "a 5-",
        "a \u0663",
    ],
)
def test_a_line_that_makes_no_sense_is_named(tmp_path, names, line):
    with pytest.raises(ValueError, match=r"list\.txt, line 3: must be 'relative/path label', got"):
        build(tmp_path, f"{names[0]} 0\n{names[1]} 1\n{line}\n{names[2]} 2\n")


def test_a_long_line_makes_a_short_message(tmp_path, names):
    for line in ["x" * 10**6, "x" * 10**6 + " 1"]:
        with pytest.raises((ValueError, FileNotFoundError), match=r"list\.txt.* line 2: ") as info:
            build(tmp_path, f"{names[0]} 0\n{line}\n")
        assert len(str(info.value)) < 600


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_is_read_over(tmp_path, names, end):
    text = end.join(text_of(names).splitlines())
    (tmp_path / "classes.txt").write_text(end.join(["猫", "dog", "a\u2028b"]), "utf-8-sig")
    (tmp_path / "list.txt").write_text(text, "utf-8-sig", newline="")
    dataset = DATASETS.build(
        dict(
            type="ImageList",
            data_root=str(tmp_path),
            ann_file="list.txt",
            classes=str(tmp_path / "classes.txt"),
        )
    )
    assert dataset.get_data_info(0)["img_path"] == str(tmp_path / names[0])
    assert dataset.metainfo["classes"] == ("猫", "dog", "a\u2028b")


@pytest.mark.parametrize(
    ("encoding", "line"), [("gbk", 2), ("utf-16", 1), ("utf-16-be", 2), ("utf-32", 1)]
)
@pytest.mark.parametrize("file", ["list.txt", "classes.txt"])
def test_other_encodings_are_refused(tmp_path, encoding, line, file):
    (tmp_path / "list.txt").write_text("a.png 0\n")
    (tmp_path / file).write_text("a.png 0\n文件.png 1\n", encoding)
    with pytest.raises(ValueError, match=rf"{file.replace('.', '[.]')}, line {line}: is not UTF-8"):
        DATASETS.build(
            dict(
                type="ImageList",
                data_root=str(tmp_path),
                ann_file="list.txt",
                classes=str(tmp_path / "classes.txt") if file == "classes.txt" else ["a"],
            )
        )


def test_a_class_without_a_name_is_named(tmp_path, names):
    (tmp_path / "classes.txt").write_text("a\n\nb\n")
    with pytest.raises(ValueError, match=r"classes\.txt, line 2: a class has no name"):
        build(tmp_path, "", num_classes=None, classes=str(tmp_path / "classes.txt"))


@pytest.mark.parametrize("test_mode", [False, True])
def test_an_empty_list_is_named(tmp_path, test_mode):
    with pytest.raises(ValueError, match=r"list\.txt names no image"):
        build(tmp_path, "\n \n", test_mode=test_mode)


def test_an_image_with_two_labels_is_named(tmp_path, names):
    text = text_of(names) + f"{names[4]} 1\n"
    assert len(build(tmp_path, text)) == 10  # it counts twice
    folder, name = names[4].rsplit("/", 1)
    with pytest.raises(ValueError, match=r"line 11: the label is 2, and 1 at line 5, of one image"):
        build(tmp_path, f"{text}{folder}/./{name} 2\n")


def test_blank_lines_count_for_nothing(tmp_path, names):
    text = f"\n{names[0]} 0\n \t\n{names[1]} 1\n{names[2]} 2\n\n"
    assert build(tmp_path, text).get_gt_labels().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"list\.txt, line 7: the label .* got 3"):
        build(tmp_path, f"{text}{names[3]} 3\n")


@pytest.mark.parametrize("label", [-1, 3, 12])
def test_a_label_that_is_no_class_is_named(tmp_path, names, label):
    with pytest.raises(ValueError, match=rf"list\.txt, line 2: .* in \[0, 3\), got {label}"):
        build(tmp_path, f"{names[0]} 0\n{names[1]} {label}\n")


def test_missing_images_are_named(tmp_path, names):
    names[2], names[5] = "images/a/9.png", "images/none/2.png"
    with pytest.raises(FileNotFoundError) as info:
        build(tmp_path, text_of(names))
    assert "list.txt names 2 images of 9 that do not exist" in str(info.value)
    assert f"line 3: {tmp_path}/images/a/9.png; line 6: {tmp_path}/images/none/2.png" in str(
        info.value
    )
    with pytest.raises(FileNotFoundError, match=r"line 3: [^;]*/9\.png; \.\.\.$"):
        build(tmp_path, text_of([name.replace("images", "none") for name in names]))


def test_what_is_no_file_is_a_missing_image(tmp_path, names):
    strange = [tmp_path / name for name in ("images/pipe.png", "images/link.png", "images/x.png")]
    os.mkfifo(strange[0])
    strange[1].symlink_to("nowhere.png")
    strange[2].mkdir()
    (tmp_path / "images" / "good.png").symlink_to(tmp_path / names[0])
    text = text_of([*names, "images/good.png"])
    assert len(build(tmp_path, text)) == 10
    for path in strange:
        with pytest.raises(FileNotFoundError, match=rf"1 images of 11 .* line 11: {path}"):
            build(tmp_path, f"{text}images/{path.name} 0\n")


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        DATASETS.build(
            dict(type="ImageList", data_root=str(tmp_path), ann_file="none.txt", num_classes=3)
        )


def test_a_class_without_an_image_is_named_unless_it_is_a_test(tmp_path, names):
    text = "".join(f"{name} {1 + 2 * (i % 2)}\n" for i, name in enumerate(names))
    with pytest.raises(ValueError, match=r"no image of 3 classes of 5: 0 \(0\), 2 \(2\), 4 \(4\)$"):
        build(tmp_path, text, num_classes=5)
    assert len(build(tmp_path, text, num_classes=5, test_mode=True)) == 9


def test_without_classes_it_is_refused(tmp_path, names):
    with pytest.raises(ValueError, match="ImageList: num_classes or classes must be given"):
        build(tmp_path, text_of(names), num_classes=None)


@pytest.mark.parametrize("content", [b"", b"no image"])
@pytest.mark.parametrize("test_mode", [False, True])
def test_an_image_that_cannot_be_decoded_is_named_in_its_turn(
    tmp_path, names, content, test_mode, rng
):
    i = rng.randrange(9)
    (tmp_path / names[i]).write_bytes(content)
    dataset = build(tmp_path, text_of(names), test_mode=test_mode)
    for j in range(9):
        if j != i:
            dataset[j]
    message = rf"list\.txt, line {i + 1}: .*{names[i]} is not an image that can be read"
    with pytest.raises(ValueError, match=message):
        dataset[i]


def test_another_failure_of_the_pipeline_is_shown_as_it_is(tmp_path, names):
    dataset = build(tmp_path, text_of(names), pipeline=[LOAD[0], lambda results: 1 / 0])
    with pytest.raises(ZeroDivisionError):
        dataset[0]


def test_classes_and_their_number_are_one_too_many(tmp_path, names):
    with pytest.raises(ValueError, match=r"not both, got num_classes=3 and classes=\['a', 'b'\]"):
        build(tmp_path, text_of(names), classes=["a", "b"])
