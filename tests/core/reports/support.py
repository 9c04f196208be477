"""What a browser sees in a report."""

import re
from html.parser import HTMLParser
from importlib.resources import files

STYLE = files("core.reports").joinpath("templates", "style.css").read_text(encoding="utf-8").strip()


class Seen(HTMLParser):
    """The elements of a report with the names of their attributes, what they would fetch or run, and the words."""

    def __init__(self, report: str):
        super().__init__()
        self.elements, self.targets, self._texts = set(), [], []
        self.feed(report)
        self.words = re.sub(r"\s+", " ", " ".join(self._texts))

    def handle_starttag(self, tag, attrs):
        self.elements.add((tag, *sorted(name for name, _ in attrs)))
        self.targets += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_data(self, data):
        self._texts.append(data)


def assert_fetches_and_runs_nothing(report: str) -> None:
    seen = Seen(report)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, *_ in seen.elements}
    assert not [name for _, *names in seen.elements for name in names if name.startswith("on")]
    assert all(target.startswith(("data:", "#")) for target in seen.targets)
    assert not re.search(r"url\((?!#|['\"]?#)", report)
    assert "@import" not in report
