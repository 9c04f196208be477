from dataclasses import replace

from core.corrections.pictures import FoldersOfPictures
from core.domain.types import BoundingBox
from core.image.imaging import encode_png, load
from core.store.outline_log import CellKey


def test_a_picture_is_found_by_its_checksum_wherever_it_lies(tmp_path, cell):
    path = tmp_path / "below" / "renamed.png"
    path.parent.mkdir()
    path.write_bytes(encode_png(cell.image.rgb))
    image = load(path)
    folders = FoldersOfPictures([tmp_path / "nowhere", tmp_path])
    key = CellKey(image.sha256, 0, image.shape)
    assert (folders.of(key).rgb == image.rgb).all()
    part = replace(key, shape=(20, 30), place=BoundingBox(5, 10, 30, 20))
    assert (folders.of(part).rgb == image.rgb[10:30, 5:35]).all()
    assert folders.of(replace(key, shape=(1, 1))) is None
    assert folders.of(replace(key, image_sha256="0" * 64)) is None
