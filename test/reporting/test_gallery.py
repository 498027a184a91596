import numpy as np
import pytest
from evaluation_fakes import SIZE, FakeInspector

from pad_ros.errors import InputError
from pad_ros.reporting.gallery import GalleryEntry, write_gallery
from pad_ros.verdicts import Verdict


def part(defect=False, row=20):
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    image[row : row + 10, 15:50] = 100
    if defect:
        image[row + 2 : row + 6, 20:26] = (220, 40, 100)
    return image


def test_gallery_shows_every_image_with_its_verdict(tmp_path):
    inspector = FakeInspector(hold=[3])
    entries = [GalleryEntry.of(f"<{i}>.png", inspector.inspect(part(i == 1))) for i in range(3)]
    assert [entry.verdict for entry in entries] == [Verdict.PASS, Verdict.REJECT, Verdict.HOLD]
    assert list(entries[0].tiles) == ["query", "reference", "heatmap", "overlay"]
    assert list(entries[2].tiles) == ["query"]
    write_gallery(entries, tmp_path / "deep/index.html", "Parts & pieces", "a subtitle")
    text = (tmp_path / "deep/index.html").read_text()
    assert text.count("<img") == 9
    assert "Parts &amp; pieces" in text
    assert "&lt;0&gt;.png" in text
    assert "1 PASS, 1 REJECT, 1 HOLD" in text
    assert "://" not in text


def test_an_empty_gallery_is_a_page(tmp_path):
    write_gallery([], tmp_path / "index.html", "nothing")
    assert "0 images" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("label", "defect", "wrong"),
    [("good", False, False), ("good", True, True), ("Burrs", True, False), ("Burrs", False, True), (None, True, False)],
)
def test_wrong_verdicts_are_marked(label, defect, wrong):
    assert GalleryEntry.of("a", FakeInspector().inspect(part(defect)), label).wrong is wrong


def test_a_hold_is_never_wrong():
    held = FakeInspector(hold=[1]).inspect(part())
    assert not GalleryEntry.of("a", held, "good").wrong
    assert GalleryEntry.of("a", held).caption == ""


@pytest.mark.parametrize("row", [0, 20, 54])
def test_crops_stay_inside_the_image_and_hold_the_truth(row):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[-1, -1] = True
    entry = GalleryEntry.of("a", FakeInspector().inspect(part(row=row)), "Burrs", mask)
    assert list(entry.tiles) == ["query", "reference", "heatmap", "overlay", "truth"]
    assert len({len(uri) > 200 for uri in entry.tiles.values()}) == 1


def test_an_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be"):
        write_gallery([], tmp_path / "file/index.html", "x")
    (tmp_path / "index.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_gallery([], tmp_path / "index.html", "x")
    assert not list(tmp_path.glob(".*partial"))
