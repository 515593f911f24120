"""The page: one file, no script, nothing fetched, text escaped."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from pottsattn import InputError
from pottsattn.figures.style import new_figure
from pottsattn.pages.page import Section, Table, write_page

NASTY = '<script>alert("&")</script>'
VOID = ("meta", "img")


class Page(HTMLParser):
    """Collects tags, images and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(tmp_path):
    figure = new_figure()[0]
    figure.plot([0, 1], [1, 0])
    sections = [
        Section(
            NASTY,
            paragraphs=[NASTY, "second"],
            figures=[figure, new_figure()[0]],
            caption=NASTY,
            table=Table(("loss (nats)", NASTY), [("1.0", NASTY), ("2.0", "-")]),
            code=f"pottsattn demo > {NASTY}",
        ),
        Section("bare"),
    ]
    write_page(tmp_path / "page.html", NASTY, NASTY, sections)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_page_is_self_contained(page):
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "@import" not in page
    assert "url(" not in page
    assert len(parsed.images) == 2
    for image in parsed.images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG\r\n")


def test_page_is_well_formed_and_shows_every_text(page):
    parsed = Page(page)
    assert parsed.open == []
    shown = "".join(parsed.text)
    # title, heading and lead; heading, paragraph, caption, table head and cell, code
    assert shown.count(NASTY) == 3 + 6
    assert parsed.images[0]["alt"] == NASTY
    assert parsed.tags.count("h2") == 2
    assert parsed.tags.count("td") == 4
    assert page.startswith("<!DOCTYPE html>")


def test_page_is_whole_or_absent(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        write_page(tmp_path / "no" / "page.html", "t", "l", [])
    broken = Section("s", table=Table(("a",), [(1.0,)]))  # not text
    with pytest.raises(AttributeError):
        write_page(tmp_path / "page.html", "t", "l", [broken])
    assert list(tmp_path.iterdir()) == []
