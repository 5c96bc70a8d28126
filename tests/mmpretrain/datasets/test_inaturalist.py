import json
from pathlib import Path

import pytest
from helpers.image_files import write_image
from mmpretrain.registry import DATASETS


@pytest.fixture
def content(tmp_path: Path, rng) -> dict:
    """Six images of three categories, whose ids are no labels, in an order that tells nothing."""
    images = [dict(id=40 + i, file_name=f"train_val2018/{i}.jpg", width=48) for i in range(6)]
    for image in images:
        write_image(tmp_path / image["file_name"])
    categories = [dict(id=10 * c + 3, name=f"species {c}") for c in range(3)]
    annotations = [dict(id=i, image_id=40 + i, category_id=10 * (i % 3) + 3) for i in range(6)]
    for part in (images, categories, annotations):
        rng.shuffle(part)
    return dict(info={}, images=images, categories=categories, annotations=annotations)


def build(root: Path, content: object, **kwargs):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "train.json").write_text(text)
    config = dict(type="INaturalist", data_root=str(root), ann_file="train.json")
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    return DATASETS.build(dict(config, pipeline=pipeline, **kwargs))


def test_labels_number_the_categories(tmp_path, content):
    dataset = build(tmp_path, content)
    assert dataset.metainfo["classes"] == ("species 0", "species 1", "species 2")
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    labels = {info["img_path"]: info["gt_label"] for info in infos}
    assert labels == {str(tmp_path / f"train_val2018/{i}.jpg"): i % 3 for i in range(6)}
    assert dataset[0]["inputs"].shape == (3, 40, 48)


def test_what_is_no_json_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"train\.json, line 3: is not JSON"):
        build(tmp_path, '{\n"images": [\n}')


def test_a_part_that_is_missing_is_named(tmp_path, content, rng):
    part = rng.choice(["images", "categories", "annotations"])
    del content[part]
    with pytest.raises(ValueError, match=rf"train\.json, {part}: the file must have a list"):
        build(tmp_path, content)
    with pytest.raises(ValueError, match=r"categories: the file must have a list"):
        build(tmp_path, [])


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("images", "file_name"),
        ("categories", "name"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(tmp_path, content, rng, part, key):
    i = rng.randrange(3)
    del content[part][i][key]
    with pytest.raises(ValueError, match=rf"train\.json, {part}\[{i}\]: must have .*{key}"):
        build(tmp_path, content)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("images", "id", "40"),
        ("images", "id", 40.0),
        ("images", "file_name", 7),
        ("categories", "id", None),
        ("categories", "name", 3),
        ("annotations", "image_id", "40"),
        ("annotations", "image_id", [40]),
        ("annotations", "category_id", True),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path, content, rng, part, key, value):
    i = rng.randrange(3)
    content[part][i][key] = value
    with pytest.raises(ValueError, match=rf"train\.json, {part}\[{i}\]: {key} must be of"):
        build(tmp_path, content)


@pytest.mark.parametrize("part", ["images", "categories"])
def test_an_id_that_is_there_twice_is_named(tmp_path, content, part):
    content[part].append(dict(content[part][0]))
    last = len(content[part]) - 1
    with pytest.raises(ValueError, match=rf"{part}\[{last}\]: id \d+ is there already"):
        build(tmp_path, content)


def test_a_file_of_two_images_with_two_labels_is_named(tmp_path, content):
    first, other = content["annotations"][0], content["annotations"][1]
    if first["category_id"] == other["category_id"]:
        other = content["annotations"][2]
    files = {image["id"]: image for image in content["images"]}
    other["category_id"] = next(
        c["id"] for c in content["categories"] if c["id"] != first["category_id"]
    )
    files[other["image_id"]]["file_name"] = files[first["image_id"]]["file_name"]
    with pytest.raises(ValueError, match=r"annotations\[\d\]: the label is \d, and \d at annot"):
        build(tmp_path, content)


def test_encodings_are_those_of_a_list(tmp_path, content):
    text = json.dumps(content)
    assert len(build(tmp_path, "\ufeff" + text)) == 6
    (tmp_path / "train.json").write_text(text, "utf-16")
    with pytest.raises(ValueError, match=r"train\.json, line 1: is not UTF-8"):
        DATASETS.build(dict(type="INaturalist", data_root=str(tmp_path), ann_file="train.json"))


def test_annotations_of_nothing_are_named(tmp_path, content, rng):
    i = rng.randrange(6)
    entry = content["annotations"][i]
    for key, value, message in [
        ("category_id", 99, "category_id 99 is not among the categories"),
        ("image_id", 99, "image_id 99 is not among the images"),
    ]:
        good = entry[key]
        entry[key] = value
        with pytest.raises(ValueError, match=rf"annotations\[{i}\]: {message}"):
            build(tmp_path, content)
        entry[key] = good
    content["annotations"].append(dict(entry))
    with pytest.raises(ValueError, match=r"annotations\[6\]: image_id \d+ has an annotation alre"):
        build(tmp_path, content)


def test_an_image_without_an_annotation_is_named(tmp_path, content):
    gone = content["annotations"].pop()["image_id"]
    with pytest.raises(ValueError, match=rf"images: id {gone} .* has no annotation"):
        build(tmp_path, content)


def test_images_are_checked_as_those_of_a_list_are(tmp_path, content, rng):
    i = rng.randrange(6)
    name = next(
        image["file_name"]
        for image in content["images"]
        if image["id"] == content["annotations"][i]["image_id"]
    )
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"annotations\[{i}\]: .*{name} is not an image"):
        build(tmp_path, content)[i]
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"names 1 images .*annotations\[{i}\]: .*{name}"):
        build(tmp_path, content)


def test_a_category_without_an_image_is_named_unless_it_is_a_test(tmp_path, content):
    content["categories"].append(dict(id=5, name="species new"))
    with pytest.raises(ValueError, match=r"no image of 1 classes of 4: 1 \(species new\)"):
        build(tmp_path, content)
    assert len(build(tmp_path, content, test_mode=True)) == 6
