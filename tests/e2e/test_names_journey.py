"""Names are text: whatever files, populations, patients and runs are called, a real browser asks no other host."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Error, Page, expect

from core.domain.cell_types import CellType
from core.explorer.selection import Selection
from core.explorer.view import By
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell
from core.store.schema import Population
from core.store.shards import append_cells, scan, write_population
from pages._ui.common.policy import POLICY
from pages._ui.explorer.state import Explored, Question, to_address
from tests.populations import analysed
from tools.serving import serve

pytestmark = pytest.mark.browser

PATIENCE_MS = 300_000  # as for a batch run where others compute


@dataclass
class Listener:
    """A host that is not the app's: whatever is asked of it is heard."""

    port: int
    heard: list[str] = field(default_factory=list)

    def named(self, what: str) -> str:
        """A name in every language that might make a browser ask."""
        host = f"http://127.0.0.1:{self.port}"
        return (
            f"![x]({host}/{what}.png) <img src='{host}/{what}-html.png'> [x]({host}/{what}-link) {host}/{what}-bare"
            f" www.{what}.test a@{what}.test :smile: `c` | $x$ \u202egnp"
        )

    def file(self, what: str) -> str:
        """The same for a file, whose name has no slashes."""
        return f"![x](http:&#47;&#47;127.0.0.1:{self.port}&#47;{what}.png) _a_.png"


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    heard: list[str] = []

    class Hears(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hears) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Listener(server.server_port, heard)
        server.shutdown()


@pytest.fixture(scope="module")
def app(listener, drawn_root, tmp_path_factory) -> Iterator[str]:
    """An app over populations, runs and folders with such names, and over damaged ones."""
    folder = tmp_path_factory.mktemp("names")
    cohort, runs, root = folder / "cohort", folder / "runs", folder / "images"
    _write_population(cohort, listener)
    training = runs / listener.file("training").removesuffix(".png")
    training.mkdir(parents=True)
    (training / "config.toml").write_text("[training]\n")
    (training / "log.csv").write_text(
        "epoch,seconds,loss,val_loss,val_dice_nucleus,val_dice_cytoplasm\n1,60,0.5,0.5,0.9,0.8\n"
    )
    below = root / listener.file("folder").removesuffix(".png")
    below.mkdir(parents=True)
    (below / listener.file("image")).write_bytes(encode_png(draw_cell(4)[0].rgb))
    environment = {
        "LEUKOSCOPE_REFERENCE": str(drawn_root),
        "LEUKOSCOPE_COHORT": str(cohort),
        "LEUKOSCOPE_RUNS": str(runs),
        "LEUKOSCOPE_CACHE": str(folder / "cache"),
        "LEUKOSCOPE_ROOTS": str(root),
    }
    with serve(environment, folder / "server.log") as (address, _):
        yield address


def _write_population(root: Path, listener: Listener) -> None:
    """Cells whose every text is such a name, a damaged shard beside them, and a note of a reader."""
    from core.image.masks import outlines
    from core.store.schema import OUTLINE_REGIONS, cell_row

    told = {name: listener.named(name) for name in ("title", "source", "citation", "terms", "note")}
    population = Population("evil", CellType.MONOCYTE, tissue="blood", created="2026-11-01", **told)
    cell = analysed("monocyte", 3)
    drawn = {region: outlines(cell.segmentation.labels, region) for region in OUTLINE_REGIONS}
    row = cell_row(
        cell, population, outlines=drawn, patient_id=listener.named("patient"), diagnosis=listener.named("diagnosis")
    )
    rows = [
        row | {"cell_id": f"evil:{n:016d}:0", "image_sha256": f"{n:064d}", "image_path": listener.file("stored")}
        for n in range(25)
    ]
    write_population(root, population, [rows])
    append_cells(root, "evil", [row | {"cell_id": "evil:x:0"}])
    shards = scan([root]).populations["evil"].shards
    smallest = min(shards, key=lambda shard: shard.stat().st_size)
    smallest.rename(smallest.with_name(f"{smallest.stem}{listener.file('shard')}.parquet")).write_text("damaged")
    shutil.copytree(root / "evil", root / "broken")
    (root / "broken" / "population.json").write_text("[" * 100_000)
    edit = {
        "when": "2026-11-23T09:30:00+00:00", "who": listener.named("reader"), "field": "note",
        "value": listener.named("remark"), "restores": False, "old": {row["cell_id"]: None for row in rows},
    }  # fmt: skip
    (root / "edits.jsonl").write_text(json.dumps(edit) + "\n[" * 3)


def _silent(page: Page, listener: Listener) -> None:
    """Nothing was asked, and nothing on the page would be, were there no policy."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    port = listener.port
    drawn = page.locator(
        f'[src*="{port}"], [href*="{port}"]:not([href^="#"]), [href*=".test"], [src*=".test"], [href^="mailto"]'
    )
    assert [found.evaluate("made => made.outerHTML.slice(0, 300)") for found in drawn.all()] == []
    assert listener.heard == []


def _section(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).first.click(force=True)


def test_a_browser_without_the_policy_would_ask(listener, page):
    """The listener does hear, or its silence would mean nothing."""
    page.set_content(f"<img src='http://127.0.0.1:{listener.port}/heard.png'>")
    page.wait_for_timeout(500)
    assert listener.heard == ["/heard.png"]
    listener.heard.clear()


def test_the_policy_lets_a_page_ask_no_other_host(app, listener, page):
    answer = page.goto(app)
    assert answer is not None
    assert answer.headers["content-security-policy"] == POLICY
    expect(page.get_by_text("I have one cell")).to_be_visible()
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate(f"() => fetch('http://127.0.0.1:{listener.port}/fetched')")
    page.evaluate(
        f"""() => {{ for (const [tag, name] of [["img", "src"], ["iframe", "src"], ["script", "src"], ["video", "src"]])
              document.body.append(Object.assign(document.createElement(tag),
                {{ [name]: "http://127.0.0.1:{listener.port}/" + tag }}));
            document.head.append(Object.assign(document.createElement("link"),
              {{ rel: "stylesheet", href: "http://127.0.0.1:{listener.port}/style" }})); }}"""
    )
    page.wait_for_timeout(1000)
    assert listener.heard == []


def test_home_and_models_show_names_as_text(app, listener, page):
    page.goto(app)
    expect(page.get_by_text("Reference cohort")).to_be_visible()
    _silent(page, listener)
    page.goto(f"{app}/Model_selection")
    for view in ("The model in use", "Trainings on this computer"):
        _section(page, view)
        expect(
            page.get_by_text("The file is the exported one" if view.startswith("The") else "Going on")
        ).to_be_visible()
        _silent(page, listener)


def test_a_cell_with_such_a_name_is_measured_and_its_report_is_silent(app, listener, page, tmp_path):
    page.goto(f"{app}/Single_cell")
    image = encode_png(draw_cell(3)[0].rgb)
    page.locator("input[type=file]").set_input_files(
        {"name": listener.file("upload"), "mimeType": "image/png", "buffer": image}
    )
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    _silent(page, listener)
    expect(page.get_by_test_id("stCaptionContainer").get_by_text("![x](http:&#47;")).to_be_visible()
    page.get_by_role("button", name="Calculate features").click()
    expect(page.get_by_role("tab", name="Monocyte")).to_be_visible()
    page.get_by_text("parts of the cohort").click()
    expect(page.get_by_text("is damaged and cannot be read").first).to_be_visible()
    page.get_by_role("tab", name="Monocyte").click()
    expect(page.get_by_text("Feature by feature")).to_be_visible()
    page.get_by_test_id("stRadio").get_by_text("x@").or_(page.get_by_text("title.png").first).first.click()
    _silent(page, listener)

    page.get_by_role("button", name="Report").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="With all tables (HTML)").click()
    report = tmp_path / "report.html"
    download.value.save_as(report)
    # As if a name had got through: the report's own policy still stands.
    host = f"http://127.0.0.1:{listener.port}"
    hole = f"<img src='{host}/hole.png'><script src='{host}/script'></script>"
    report.write_text(report.read_text(encoding="utf-8").replace("</main>", f"{hole}</main>"), encoding="utf-8")
    opened = page.context.new_page()
    opened.goto(report.as_uri())
    expect(opened.get_by_text("Research use, not for diagnosis")).to_be_visible()
    expect(opened.locator("figure svg")).to_have_count(2 + 3)
    opened.wait_for_timeout(500)
    assert listener.heard == []


def test_an_image_that_is_none_is_refused_by_its_name(app, listener, page):
    page.goto(f"{app}/Single_cell")
    page.locator("input[type=file]").set_input_files(
        {"name": listener.file("none"), "mimeType": "image/png", "buffer": b"no image"}
    )
    expect(page.get_by_test_id("stAlert")).to_contain_text("![x](http:&#47;")
    _silent(page, listener)


def test_the_explorer_shows_names_as_text_wherever_it_names(app, listener, page):
    page.goto(f"{app}/Cohort_explorer")
    expect(page.get_by_text("cells in view, ")).to_be_visible()
    page.get_by_role("button", name="What and why").click()
    _silent(page, listener)
    page.keyboard.press("Escape")
    page.get_by_text("Where the cells come from").click()
    page.get_by_text("parts of the cohort").click()
    expect(page.get_by_text("population.json").first).to_be_visible()
    _silent(page, listener)


@pytest.mark.parametrize("question", Question)
def test_every_question_of_the_explorer_shows_names_as_text(app, listener, page, question):
    saved = {listener.named("saved")[:40]: Selection(), "all": Selection()}
    for by in (By.POPULATION, By.PATIENT, By.DIAGNOSIS, By.SOURCE, None):
        chosen = Selection(populations=("evil",)) if question is Question.CELLS else Selection()
        seen = Explored(chosen, question=question, by=by, saved=saved)
        page.goto(f"{app}/Cohort_explorer?{urlencode(to_address(seen), doseq=True)}")
        expect(page.get_by_text("cells in view, ")).to_be_visible()
        _silent(page, listener)
        if question not in (Question.DISTRIBUTION, Question.SEPARATION):
            break  # the others do not compare groups
    if question is Question.CELLS:
        _section(page, "Correct or annotate")
        expect(page.get_by_text("note:").first).to_be_visible()
        _silent(page, listener)
    if question is Question.SQL:
        page.get_by_role("textbox", name="Question").fill(f'SELECT "{listener.named("column")}" FROM cells')
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_test_id("stAlert")).to_contain_text("![x](")
        _silent(page, listener)


def test_a_run_over_such_names_is_listed_as_text(app, listener, page):
    page.goto(f"{app}/Batch")
    expect(page.get_by_text("No run yet")).to_be_visible()
    _section(page, "A folder of the server")
    page.get_by_role("combobox", name="Folder").click()
    page.get_by_role("option").nth(1).click()
    expect(page.get_by_text("1 image", exact=False).first).to_be_visible()
    _silent(page, listener)
    page.get_by_role("button", name="Start measuring").click()
    expect(page.get_by_text("1 cell measured")).to_be_visible(timeout=PATIENCE_MS)
    _silent(page, listener)
    for view in ("All cells", "Add to the cohort"):
        _section(page, view)
        _silent(page, listener)
