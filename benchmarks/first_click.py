"""What the first user of a fresh server waits for: CPU time of the server and its processes, beside a later click.

CPU time, because on a busy machine seconds tell of the others. A drawn cell is uploaded and measured: in a fresh server
by a fresh browser, while nothing is in the folder of caches and once the server has nothing more to prepare; the same
after a restart; then cell after cell; and each time that cells were added to a population of one's own.
"""

import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import sysconf
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from core.domain.settings import load_settings
from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store.database import Cohort
from core.store.schema import CellRow, Population, arrow_schema
from core.store.shards import append_cells, write_population
from tools.serving import CHROMIUM_FLAGS, serve

WARM_CLICKS = 7
ADDED, TIMES = 20, 3  # cells that join a population of one's own, and how often
FIRST, AFTER_ADDING = 2.0, 1.2  # times a later click: what is asked for
PAGE_MS = 4000
LIKE, OWN = "monocyte_deepapl", "own"  # the cells are those of a shipped population, under another name

_TICKS = sysconf("SC_CLK_TCK")
_AT_REST = 0.05  # of a core
_LOOK_S = 1.0


class FirstVisit:
    """A server's processes, and a page of a browser on it."""

    def __init__(self, page: Page, address: str, process: int, folder: Path) -> None:
        self._page, self._address, self._process, self._folder = page, address, process, folder
        self._drawn = 0

    def cpu(self) -> float:
        """CPU seconds that the server and all its processes have taken, those that have ended too."""
        parents, taken = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            process = int(stat.parent.name)
            parents[process], taken[process] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
        tree = {self._process}
        while more := {process for process, parent in parents.items() if parent in tree} - tree:
            tree |= more
        return sum(taken.get(process, 0.0) for process in tree)

    def settle(self) -> None:
        """Wait until the server has nothing more to do."""
        before = self.cpu()
        while True:
            time.sleep(_LOOK_S)
            now = self.cpu()
            if now - before < _AT_REST * _LOOK_S:
                return
            before = now

    def open(self) -> None:
        """Open the page anew."""
        self._page.goto(f"{self._address}/Single_cell")
        self._page.get_by_text("No image yet").wait_for()

    def upload(self) -> None:
        """Bring a cell that was not there before."""
        image, _ = draw_cell(100 + self._drawn, SYNTHETIC_CELLS["monocyte"])
        self._drawn += 1
        path = self._folder / f"drawn_{self._drawn}.png"
        path.write_bytes(encode_png(image.rgb))
        self._page.locator("input[type=file]").set_input_files(path)
        self._page.get_by_text("The mask will stand here.").wait_for()

    def calculate(self) -> None:
        """Press the button and wait until everything is drawn."""
        self._page.get_by_role("button", name="Calculate features").click()
        self._page.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population")).wait_for()
        self._page.wait_for_function(
            "document.querySelectorAll('.stVegaLiteChart canvas, .stVegaLiteChart svg').length >= 2"
        )

    def click(self) -> float:
        """CPU seconds of one cell, from the button, in a server that had time to prepare."""
        self.open()
        self.upload()
        self.settle()
        return self.cost(self.calculate)

    def cost(self, step: Callable[[], None], *, settled: bool = True) -> float:
        """CPU seconds of a step, by default with what the server does after the page is there."""
        before = self.cpu()
        step()
        if settled:
            self.settle()
        return self.cpu() - before

    def hurry(self) -> None:
        """From nothing to all plots, without a pause."""
        self.open()
        self.upload()
        self.calculate()


@contextmanager
def fresh(folder: Path, environment: Mapping[str, str]) -> Iterator[FirstVisit]:
    """A server that was just started, and a browser that was never there."""
    with (
        serve(environment, folder / "server.log") as (address, process),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        yield FirstVisit(page, address, process, folder)
        browser.close()


def own_cells() -> tuple[Population, list[CellRow]]:
    """A population of one's own, and cells for it."""
    with Cohort.open([load_settings().reference]) as cohort:
        population = cohort.population(LIKE)
        rows = cohort.cell_rows("quality_ok", {}, [LIKE])
    columns = set(arrow_schema().names)
    for row in rows:
        row.update(population=OWN, cell_id=str(row["cell_id"]).replace(LIKE, OWN))
    kept: list[CellRow] = [{name: row[name] for name in row if name in columns} for row in rows]
    return replace(population, population_id=OWN, title="Monocytes of our own", um_per_px=None), kept


def measured(row: Callable[..., dict[str, object]]) -> list[dict[str, object]]:
    """The rows of the table; `row` is that of `benchmarks`."""
    population, cells = own_cells()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        environment = {f"LEUKOSCOPE_{name.upper()}": str(folder / name) for name in ("cohort", "cache", "runs")}
        write_population(folder / "cohort", population, [cells[ADDED * TIMES :]])
        with fresh(folder, environment) as server:
            page = server.cost(server.open, settled=False)
            first = server.click()
            warm = [server.click() for _ in range(WARM_CLICKS)]
            after = []
            for number in range(TIMES):
                append_cells(folder / "cohort", OWN, cells[ADDED * number : ADDED * (number + 1)])
                after.append(server.click())
                warm.append(server.click())
        with fresh(folder, environment) as server:
            restarted = server.click()
        with fresh(folder, environment) as server:
            hurried = server.cost(server.hurry, settled=False)
    later, added = statistics.median(warm), statistics.median(after)

    def beside_later(what: str, took: float) -> dict[str, object]:
        return row(what, 1000 * took, "a later click", 1000 * later, later / took, "ms CPU")

    def within(what: str, took: float, target: float) -> dict[str, object]:
        return row(what, took / later, "target", target, target * later / took, "later clicks")

    return [
        row("first page of a fresh server", 1000 * page, "target", PAGE_MS, PAGE_MS / (1000 * page), "ms CPU"),
        beside_later("first click of a fresh server, all caches empty", first),
        within("the same", first, FIRST),
        beside_later("first click after a restart", restarted),
        beside_later("click after cells were added to the cohort, median", added),
        within("the same", added, AFTER_ADDING),
        beside_later("restart, page, upload and click without a pause, to all plots drawn", hurried),
    ]
