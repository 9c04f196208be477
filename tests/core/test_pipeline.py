import itertools
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from core.domain.objects import ObjectKind, red_cells_of
from core.domain.options import CellChoice, Device, FeatureEngine
from core.domain.types import CellImage, StainFactors
from core.domain.versions import MODEL_FILE, software_versions
from core.evaluation.datasets import data_set
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.depth import Depths
from core.image.imaging import encode_png
from core.image.stain import restained
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import (
    AnalysisRequest,
    ReceivedImage,
    analyse,
    analyse_cells,
    analyse_many,
    analyse_received,
    at_scale,
    measure,
    outline_cells,
    outline_many,
    remeasured,
    run_job,
    scale_of_red_cells,
    spread_over,
)
from tests.core.segmentation.scenes import SMUDGE, SceneLocaliser, SceneSegmenter, empty, put, put_leukocyte

BROKEN = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five files of which the third is no image."""
    root = tmp_path_factory.mktemp("cells")
    for number in range(5):
        content = (
            b"not an image" if number == BROKEN else encode_png(draw_cell(number, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)
        )
        (root / f"{number}.png").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def jobs(folder):
    return [AnalysisRequest(path, 0.1) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def outcomes(jobs, model_entry):
    return list(analyse_many(jobs, model_entry, device=Device.CPU))


def test_one_cell_from_image_to_flags(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    found = analyse(image, segmenter)
    assert found.image is image
    assert found.features == extract(image.rgb, found.segmentation.labels)
    assert list(found.features.values) == list(CATALOGUE)
    assert found.quality_ok
    assert (found.cell_index, found.place) == (0, None)
    assert found.versions == {**software_versions(), MODEL_FILE: segmenter.file_sha256}


def test_progress_is_told_in_words_and_only_rises(reader, field):
    single = CellImage(field.rgb[:250, :260].copy(), "single.png", "0" * 64)
    for image, last in ((single, 0), (field, 1)):
        told = []
        outline_cells(image, reader, progress=lambda words, share, told=told: told.append((words, share)))
        shares = [share for _, share in told]
        assert shares == sorted(shares)
        assert shares[-1] == last
        assert all(words[0].isupper() for words, _ in told)


def test_progress_of_the_whole_analysis_counts_the_cells(reader, field):
    told = []
    analyse_cells(field, reader, progress=lambda words, share: told.append((words, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] < 1
    assert [words for words, _ in told][-6:] == [f"Measuring cell {number} of 6" for number in range(1, 7)]
    told.clear()
    single = CellImage(field.rgb[:250, :260].copy(), "single.png", "0" * 64)
    analyse_cells(single, reader, progress=lambda *words_and_share: told.append(words_and_share[0]))
    assert told == ["Looking for cells", "Outlining nucleus and cytoplasm", "Measuring"]


def test_an_empty_picture_is_never_good(segmenter):
    found = analyse(CellImage(np.full((120, 120, 3), 255, np.uint8), "white.png", "0" * 64), segmenter)
    assert not found.quality_ok
    assert found.flags[0].code in {"no_cell", "no_nuclear_stain", "unlike_leukocyte"}


def test_outcomes_keep_the_order_of_the_jobs(outcomes, jobs):
    assert [outcome.path for outcome in outcomes] == [job.path for job in jobs]


def test_an_unreadable_image_in_the_middle_has_its_reason_and_the_rest_goes_on(outcomes):
    assert [len(outcome.analyses) for outcome in outcomes] == [1, 1, 0, 1, 1]
    assert outcomes[BROKEN].reason.startswith("2.png: expected a PNG, JPEG, TIFF")
    assert all(outcome.reason is None for number, outcome in enumerate(outcomes) if number != BROKEN)
    assert all(analysis.image.um_per_px == 0.1 for outcome in outcomes for analysis in outcome.analyses)


def test_two_processes_give_what_one_gives(outcomes, jobs, model_entry):
    for one, other in zip(outcomes, analyse_many(jobs, model_entry, jobs=2, device=Device.CPU), strict=True):
        assert (one.path, one.reason) == (other.path, other.reason)
        for a, b in zip(one.analyses, other.analyses, strict=True):
            # Another number of threads may round a probability the other way, at a pixel or two of the outline.
            assert np.count_nonzero(a.segmentation.labels != b.segmentation.labels) <= 5
            assert (a.image.sha256, a.flags) == (b.image.sha256, b.flags)
            name = "combined_PixelSurface"
            assert a.features.values[name] == pytest.approx(b.features.values[name], rel=1e-3)


def test_jobs_are_taken_as_they_are_needed(folder, model_entry):
    """A hundred thousand jobs are not read ahead, nor their results kept."""
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield AnalysisRequest(folder / f"{BROKEN}.png")

    stream = analyse_many(endless(), model_entry, device=Device.CPU)
    assert [next(stream).reason is not None for _ in range(3)] == [True] * 3
    assert len(taken) <= 4  # one ahead


def test_the_reference_engine_measures_the_same(folder, segmenter):
    fast, reference = (
        run_job(AnalysisRequest(folder / "0.png", engine=engine), segmenter).analyses[0] for engine in FeatureEngine
    )
    assert reference.features.absent == fast.features.absent
    for name, value in fast.features.values.items():
        assert value is None or reference.features.values[name] == pytest.approx(value, rel=1e-9)


def test_an_image_that_takes_too_much_has_its_reason_and_the_rest_goes_on(jobs, model_entry, tmp_path, monkeypatch):
    Image.new("RGB", (5000, 5000)).save(tmp_path / "black.png")
    wanted = [AnalysisRequest(tmp_path / "black.png"), jobs[0]]
    black, cell = analyse_many(wanted, model_entry, device=Device.CPU)
    assert "black.png: expected a cell of at most 2,000,000 pixels, but it covers" in black.reason
    assert cell.reason is None
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", "120")
    monkeypatch.setenv("LEUKOSCOPE_MAX_MEMORY_MB", "1")
    black, cell = analyse_many(wanted, model_entry, device=Device.CPU)
    assert black.reason.startswith("black.png: it takes more than 1 MB of memory; cut out the cell or scale")
    assert cell.reason is None
    monkeypatch.setenv("LEUKOSCOPE_MAX_MEMORY_MB", "3072")
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", "0.05")
    (black,) = analyse_many(wanted[:1], model_entry, device=Device.CPU)
    assert black.reason.startswith("black.png: nothing came of it for 0.05 s; cut out")


def test_a_received_image_is_decoded_and_analysed(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    told = []
    received = ReceivedImage(encode_png(image.rgb), "a/cell.png", 0.1, CellChoice.ONE)
    found, (analysis,) = analyse_received(received, segmenter, lambda *words: told.append(words))
    assert (found.name, found.um_per_px, len(told) > 1) == ("cell.png", 0.1, True)
    np.testing.assert_array_equal(analysis.image.rgb, image.rgb)


# --- fields ---


@pytest.fixture(scope="module")
def field():
    """Four drawn cells in two rows; one more in each is cut by the right edge, and a smudge cell lies between."""
    rgb = empty(500, 800)
    for row in (120, 370):
        for column in (150, 430, 790):
            put_leukocyte(rgb, row, column, 50)
        put(rgb, row, 290, 25, SMUDGE)
    return CellImage(rgb, "field.png", "0" * 64, 0.12)


@pytest.fixture(scope="module")
def reader():
    """What reads drawn scenes."""
    return SceneSegmenter(SceneLocaliser())


def test_cells_of_a_field_are_numbered_placed_and_flagged_where_the_edge_cuts_them(reader, field):
    found = analyse_cells(field, reader)
    assert [cell.cell_index for cell in found] == [0, 1, 2, 3, 4, 5]
    assert [(cell.box.left // 280, cell.box.top // 250) for cell in found] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (0, 1),
        (1, 1),
        (2, 1),
    ]
    assert [any(flag.code == "border" for flag in cell.flags) for cell in found] == [False, False, True] * 2
    for cell in found:
        place = cell.place
        assert cell.image.shape == (place.height, place.width)
        np.testing.assert_array_equal(
            cell.image.rgb, field.rgb[place.top : place.top + place.height, place.left : place.left + place.width]
        )
        assert (cell.image.name, cell.image.sha256, cell.image.um_per_px) == (field.name, field.sha256, field.um_per_px)
        assert cell.image.notes == ("2 smudge cells were seen and left out",)
        assert (cell.segmentation.model_id, cell.segmentation.provider) == (reader.card.model_id, "none")


def test_a_cell_of_a_field_knows_what_lies_around_it_in_its_own_cut_out(reader, field):
    first = analyse_cells(field, reader)[0]
    assert first.segmentation.found in first.segmentation.objects
    box = first.box
    middle = (box.top + box.height / 2 - first.place.top, box.left + box.width / 2 - first.place.left)
    assert first.segmentation.found.centre == pytest.approx(middle, abs=6)
    kinds = [one.kind for one in first.segmentation.objects]
    assert kinds.count(ObjectKind.SMUDGE) == 2
    assert kinds.count(ObjectKind.LEUKOCYTE) == 4, "those further away than three diameters are not told"


def test_a_field_with_too_many_cells_says_how_many_were_left_out(reader, field, monkeypatch):
    for module in ("core.segmentation.field_of_view", "core.pipeline"):
        monkeypatch.setattr(f"{module}.MOST_CELLS", 3)
    found = analyse_cells(field, reader)
    words = "the field has 6 leukocytes, of which only the 3 nearest its middle were outlined"
    assert [cell.image.notes[-1] for cell in found] == [words] * 3


def test_one_and_all_overrule_what_the_image_shows(reader, field):
    (centred,) = outline_cells(field, reader, CellChoice.ONE)
    assert (centred.image.rgb is field.rgb, centred.place) == (True, None)
    assert centred.segmentation.other_cells == 5
    single = CellImage(field.rgb[:250, :260].copy(), "single.png", "0" * 64)
    (cut,) = outline_cells(single, reader, CellChoice.ALL)
    assert cut.place is not None
    (chosen,) = outline_cells(single, reader)
    assert (chosen.image.rgb is single.rgb, chosen.place) == (True, None)
    np.testing.assert_array_equal(chosen.segmentation.labels, reader.segment(single).labels)


def test_images_together_are_outlined_as_alone(reader, field):
    single = CellImage(field.rgb[:250, :260].copy(), "single.png", "0" * 64)
    blank = CellImage(empty(100, 90), "blank.png", "0" * 64)
    images = [single, field, blank]
    assert [len(cells) for cells in outline_many(images, reader)] == [1, 6, 1]
    assert [len(cells) for cells in outline_many(images, reader, CellChoice.ALL)] == [1, 6, 0]


def test_outlining_and_measuring_apart_are_the_analysis(segmenter, synthetic_cell):
    (cell,) = outline_cells(synthetic_cell[0], segmenter)
    assert measure(cell, segmenter).features == analyse(synthetic_cell[0], segmenter).features


def test_a_field_without_a_leukocyte_says_so(tmp_path, segmenter):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "field.png")
    outcome = run_job(AnalysisRequest(tmp_path / "field.png", cells=CellChoice.ALL), segmenter)
    assert (outcome.analyses, outcome.reason) == ((), "field.png: no stained leukocyte was found in the field")
    outcome = run_job(AnalysisRequest(tmp_path / "field.png"), segmenter)
    assert (len(outcome.analyses), outcome.reason) == (1, None), "left to itself it is an image of one cell, flagged"


@pytest.mark.data
def test_the_smear_is_taken_for_a_field_of_five_cells(data_dir, segmenter):
    (sample,) = data_set("hairy_cell_smear").samples(data_dir)
    outcome = run_job(AnalysisRequest(sample.image), segmenter)
    assert len(outcome.analyses) == 5
    assert outcome.shape == (670, 895)
    assert all(cell.quality_ok for cell in outcome.analyses)
    shares = [cell.features.values["combined_PixelSurface"] for cell in outcome.analyses]
    assert all(share is not None and 0.15 < share < 0.95 for share in shares)


def test_another_scale_changes_what_is_said_of_it_and_no_value(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    first = analyse(replace(image, um_per_px=0.095), segmenter)
    second = at_scale(first, 1.0)
    assert second.image.um_per_px == 1.0
    assert second.features is first.features
    assert [flag.code for flag in second.flags] == ["scale_absurd"]
    assert at_scale(second, 0.095).flags == first.flags


def test_what_a_run_knows_of_the_depth_reaches_the_image(tmp_path, segmenter, synthetic_cell):
    values = synthetic_cell[0].rgb.astype(np.uint16) << 4
    tifffile.imwrite(tmp_path / "dark.tif", values // 4, photometric="rgb")
    job = AnalysisRequest(tmp_path / "dark.tif", depths=Depths(12))
    (cell,) = run_job(job, segmenter).analyses
    np.testing.assert_array_equal(cell.image.rgb, values // 4 >> 4)
    assert "12 bits per value, as given, the upper 8 kept" in cell.image.notes
    assert "reduced_depth" in [flag.code for flag in cell.flags]


def test_an_image_keeps_what_its_red_cells_say_also_where_its_cells_are_cut_out(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    said = red_cells_of(segmenter.find([image.rgb])[0])
    assert said.discs > 0
    field = CellImage(np.concatenate([image.rgb, draw_cell(5)[0].rgb], axis=1), "field.png", "0" * 64)
    (single,), cut = outline_cells(image, segmenter), outline_cells(field, segmenter, CellChoice.ALL)
    assert single.image.red_cells == said
    assert len({cell.image.red_cells for cell in cut}) == 1
    assert cut[0].image.red_cells == red_cells_of(segmenter.find([field.rgb])[0])


def test_an_image_in_which_nothing_is_seen_says_nothing_of_red_cells(reader):
    empty_image = CellImage(np.full((120, 120, 3), 240, np.uint8), "white.png", "0" * 64)
    (cell,) = outline_cells(empty_image, reader)
    assert cell.image.red_cells is None


@pytest.mark.parametrize(("count", "most", "expected"), [(5, 10, 5), (10, 10, 10), (1000, 10, 10), (7, None, 7)])
def test_images_for_the_ruler_are_spread_over_all(count, most, expected):
    names = [f"{number:04d}" for number in range(count)]
    some = spread_over(iter(names), most)
    assert len(some) == len(set(some)) == expected
    assert some == sorted(some)
    assert int(some[-1]) >= 0.85 * (count - 1)


def test_an_image_that_cannot_be_read_has_no_say_in_the_scale(folder, model_entry):
    paths, seen = sorted(folder.iterdir()), []

    def read(name):
        if name == "gone":
            raise FileNotFoundError(name)
        return (folder / name).read_bytes()

    names = [*(path.name for path in paths), "gone"]
    answer = scale_of_red_cells(names, read, model_entry, device=Device.CPU, progress=seen.append)
    assert "of 6 images" in answer.words
    assert seen == [1, 2, 3, 4, 5, 6]


def test_stain_factors_change_what_is_measured_and_neither_outline_nor_flags(tmp_path, segmenter, synthetic_cell):
    (tmp_path / "cell.png").write_bytes(encode_png(synthetic_cell[0].rgb))
    factors = StainFactors("ours-to-bcn", 0.7, 0.8, 1.2)
    plain, stained = (
        run_job(AnalysisRequest(tmp_path / "cell.png", stain=stain), segmenter).analyses[0] for stain in (None, factors)
    )
    assert (stained.segmentation.labels == plain.segmentation.labels).all()
    assert (stained.image.rgb == plain.image.rgb).all()
    assert stained.flags == plain.flags
    assert stained.image.notes == (*plain.image.notes, factors.note)
    assert stained.features == extract(restained(plain.image.rgb, factors), plain.segmentation.labels)
    assert stained.features != plain.features
    again = remeasured(stained, stained.segmentation.labels, segmenter)
    assert again.features == stained.features
