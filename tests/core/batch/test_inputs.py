"""Where images are: what is listed, in which order, and what is refused."""

import io
import os
import pickle
import stat
import tracemalloc
import zipfile

import fsspec
import pytest

from core.batch.inputs import ArchiveInputs, FolderInputs, open_inputs
from core.domain.errors import ImageError, UsageError
from core.image.archives import MAX_RATIO


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def listed(inputs):
    return {found.path: found.problem for found in inputs.listed()}


def test_a_folder_is_listed_in_order_and_the_same_each_time(tmp_path):
    touch(tmp_path, "b.png", "a.JPG", "z/2.tif", "z/1.tif", "c/x/1.bmp", "notes.txt", ".hidden.png", ".git/a.png")
    names = ["a.JPG", "b.png", "c/x/1.bmp", "z/1.tif", "z/2.tif"]
    assert [found.path for found in FolderInputs(tmp_path).listed()] == names
    assert list(FolderInputs(tmp_path).count()) == [1, 2, 3, 4, 5]
    copied = pickle.loads(pickle.dumps(FolderInputs(tmp_path)))
    assert [found.path for found in copied.listed()] == names
    data, stamp = copied.read("z/1.tif")
    assert (data, stamp.size) == (b"z/1.tif", 7)
    assert stamp == copied.stamp("z/1.tif")


def test_a_pattern_chooses_by_the_relative_path(tmp_path):
    touch(tmp_path, "blood/1.png", "marrow/1.png", "blood/2.jpg")
    inputs = FolderInputs(tmp_path, "blood/*.png")
    assert list(listed(inputs)) == ["blood/1.png"]
    assert list(inputs.count()) == [1]


def test_links_are_followed_inside_the_folder_only(tmp_path):
    root = tmp_path / "in"
    touch(root, "real.png", "sub/1.png")
    touch(tmp_path, "secret.png")
    (root / "inside.png").symlink_to("real.png")
    (root / "outside.png").symlink_to(tmp_path / "secret.png")
    (root / "broken.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "around").symlink_to(root)
    (root / "note").symlink_to("nowhere")
    found = listed(FolderInputs(root))
    assert {path for path, problem in found.items() if problem is None} == {"real.png", "inside.png", "sub/1.png"}
    assert "leaves the folder" in found["outside.png"]
    assert "leads nowhere" in found["broken.png"]
    assert "leads nowhere" in found["loop.png"]
    assert "link to a folder" in found["around"]
    assert "note" not in found
    with pytest.raises(ImageError, match="leaves the folder"):
        FolderInputs(root).read("outside.png")
    with pytest.raises(ImageError):
        FolderInputs(root).read("../secret.png")


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    touch(tmp_path, "folder.png/inside.png")
    found = listed(FolderInputs(tmp_path))
    assert "device or a pipe" in found["pipe.png"]
    assert "is a folder" in found["folder.png"]
    assert found["folder.png/inside.png"] is None
    with pytest.raises(ImageError, match="pipe"):
        FolderInputs(tmp_path).read("pipe.png")


def test_a_name_that_is_no_utf8_is_named_with_escapes(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    found = listed(FolderInputs(tmp_path))
    assert list(found) == ["caf\\xe9.png"]
    assert "UTF-8" in found["caf\\xe9.png"]


def test_files_beyond_the_limit_or_gone_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "1000")
    (tmp_path / "big.png").write_bytes(bytes(1001))
    with pytest.raises(ImageError, match="at most"):
        FolderInputs(tmp_path).read("big.png")
    with pytest.raises(ImageError, match="No such file"):
        FolderInputs(tmp_path).read("gone.png")
    assert FolderInputs(tmp_path).stamp("gone.png") is None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    touch(tmp_path, "closed/1.png", "open/1.png")
    (tmp_path / "closed").chmod(0)
    found = listed(FolderInputs(tmp_path, "open/*"))
    (tmp_path / "closed").chmod(0o700)
    assert "cannot" not in found
    assert "Permission denied" in found["closed"]


def test_listing_keeps_one_folder_in_mind_at_a_time(tmp_path):
    """20,000 names in 40 folders: the listing's memory is that of one folder."""
    for folder in range(40):
        (tmp_path / f"{folder:02d}").mkdir()
        for number in range(500):
            (tmp_path / f"{folder:02d}" / f"{number:04d}.png").touch()
    inputs = FolderInputs(tmp_path)
    tracemalloc.start()
    assert sum(1 for _ in inputs.listed()) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


# --- archives ---------------------------------------------------------------------------------------------------------


def write_zip(path, files, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_read_in_place(tmp_path):
    path = write_zip(
        tmp_path / "cells.zip",
        {"b/2.png": b"2", "a.png": b"1", "notes.txt": b"x", "__MACOSX/a.png": b"x", ".h.png": b"x"},
    )
    inputs = pickle.loads(pickle.dumps(open_inputs(str(path))))
    assert listed(inputs) == {"a.png": None, "b/2.png": None}
    data, stamp = inputs.read("b/2.png")
    assert (data, stamp) == (b"2", inputs.stamp("b/2.png"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cells.zip"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../../etc/evil.png", "leads out"),
        ("a/../../evil.png", "leads out"),
        ("/etc/evil.png", "leads out"),
        ("C:/evil.png", "leads out"),
        ("C:\\evil.png", "leads out"),
        ("..\\evil.png", "leads out"),
        ("a\\b.png", "separated by"),
        ("inner.zip", "archive inside"),
    ],
)
def test_names_that_mean_harm_fail_by_name(name, words, tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"good.png": b"1", name: b"2"})
    found = listed(open_inputs(str(path)))
    assert found.pop("good.png") is None
    (problem,) = found.values()
    assert words in problem


def test_links_encrypted_and_double_members_fail_by_name(tmp_path):
    path = tmp_path / "cells.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("twice.png", b"1")
        archive.writestr("secret.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("twice.png", b"2")
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"secret.png"))
    content[at + 8] |= 1  # the directory says that it is encrypted
    path.write_bytes(content)
    found = [(entry.path, entry.problem) for entry in open_inputs(str(path)).listed()]
    problems = {name: problem for name, problem in found if problem}
    assert "link" in problems["link.png"]
    assert "several files" in problems["twice.png"]
    assert "encrypted" in problems["secret.png"]
    assert len(found) == 3


def test_a_bomb_is_refused_as_a_whole_and_a_small_one_by_name(tmp_path):
    with pytest.raises(UsageError, match="hardly shrink"):
        open_inputs(str(write_zip(tmp_path / "bomb.zip", {"bomb.png": bytes(300 * 2**20)}, zipfile.ZIP_DEFLATED)))
    noise = os.urandom(2**20)
    path = write_zip(tmp_path / "mixed.zip", {"good.png": noise, "bomb.png": bytes(9 * 2**20)}, zipfile.ZIP_DEFLATED)
    found = listed(open_inputs(str(path)))
    assert found["good.png"] is None
    assert f"more than {MAX_RATIO} times" in found["bomb.png"]


def test_a_size_that_lies_is_noticed_while_unpacking(tmp_path):
    path = write_zip(tmp_path / "lies.zip", {"bomb.png": bytes(20 * 2**20)}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # the size it claims to unpack to
    path.write_bytes(content)
    with pytest.raises(ImageError, match="pack"):
        open_inputs(str(path)).read("bomb.png")


def test_two_hundred_thousand_members_are_listed(tmp_path):
    path = write_zip(
        tmp_path / "many.zip", dict.fromkeys((f"{n // 1000:03d}/{n:06d}.png" for n in range(200_000)), b"x")
    )
    inputs = ArchiveInputs(str(path))
    names = [found.path for found in inputs.listed() if found.problem is None]
    assert len(names) == 200_000
    assert names == sorted(names)
    assert inputs.read(names[123_456])[0] == b"x"


def test_what_is_no_input_says_what_is_expected(tmp_path):
    for source in (tmp_path / "nothing", tmp_path / "notes.txt"):
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(UsageError, match="expected a folder, a ZIP file or a URL"):
            open_inputs(str(source))
    (tmp_path / "no.zip").write_text("x")
    with pytest.raises(UsageError, match="expected a ZIP archive"):
        open_inputs(str(tmp_path / "no.zip"))


# --- buckets ----------------------------------------------------------------------------------------------------------


def test_a_bucket_is_listed_and_read_like_a_folder():
    system = fsspec.filesystem("memory")
    for name in ("b.png", "a.jpg", "sub/1.png", "notes.txt", ".hidden.png"):
        system.pipe(f"/inputs/{name}", name.encode())
    inputs = open_inputs("memory://inputs")
    assert sorted(listed(inputs)) == ["a.jpg", "b.png", "sub/1.png"]
    assert inputs.read("sub/1.png")[0] == b"sub/1.png"
    assert inputs.stamp("sub/1.png") == inputs.read("sub/1.png")[1]
    with pytest.raises(ImageError):
        inputs.read("gone.png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.png", b"x")
    system.pipe("/inputs/cells.zip", buffer.getvalue())
    assert listed(open_inputs("memory://inputs/cells.zip")) == {"x.png": None}
    with pytest.raises(UsageError, match="expected a folder of images"):
        open_inputs("memory://elsewhere")
    with pytest.raises(UsageError, match="fsspec"):
        open_inputs("nosuch://bucket")


# --- files that are no images -----------------------------------------------------------------------------------------

OTHERS = {
    "a.png": b"1",
    "slide.svs": b"2",
    "sub/b.jfif": b"3",
    "sub/x.dcm": b"4",
    "sub/README": b"5",
    "Thumbs.db": b"6",
}


@pytest.mark.parametrize("kind", ["folder", "archive", "bucket"])
def test_files_that_are_no_images_are_counted_and_named(tmp_path, kind):
    if kind == "folder":
        touch(tmp_path, *OTHERS)
        inputs = open_inputs(str(tmp_path))
    elif kind == "archive":
        inputs = open_inputs(str(write_zip(tmp_path / "cells.zip", OTHERS)))
    else:
        system = fsspec.filesystem("memory")
        for name, content in OTHERS.items():
            system.pipe(f"/passed/{name}", content)
        inputs = open_inputs("memory://passed")
    assert list(listed(inputs)) == ["a.png", "sub/b.jfif"]
    assert list(inputs.count())[-1] == 2
    passed = inputs.passed_over.by_ending
    assert {ending: (one.files, one.first) for ending, one in passed.items()} == {
        ".dcm": (1, ("sub/x.dcm",)),
        ".svs": (1, ("slide.svs",)),
        "no ending": (1, ("sub/README",)),
    }
    assert "QuPath" in passed[".svs"].way
    listed(inputs)
    assert inputs.passed_over.by_ending == passed, "each listing counts anew"


def test_a_pattern_chooses_among_the_others_too(tmp_path):
    touch(tmp_path, *OTHERS)
    inputs = open_inputs(str(tmp_path), "sub/*")
    assert list(listed(inputs)) == ["sub/b.jfif"]
    assert set(inputs.passed_over.by_ending) == {".dcm", "no ending"}
