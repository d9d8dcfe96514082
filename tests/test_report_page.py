"""The page itself: what a browser makes of it, and what it makes of hostile names."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from small_study import HOSTILE, published_as, study_of, write_images

import fastlin
from fastlin import TrainConfig, figures
from fastlin.report import page, wording
from fastlin.report.study import experiments
from fastlin.report.study.page import CLAIM_RULE, RULE, study_page

BROWSER = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("chromium-headless-shell")
    or shutil.which("google-chrome")
)
BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of images with hostile class names, with more training rows beside it."""
    place = tmp_path_factory.mktemp("study")
    write_images(place / "small.npz")
    with published_as(fastlin.load_split(place / "small.npz")):
        yield study_of(place / "small.npz", place, full=True)


@pytest.fixture(scope="module")
def made(study):
    return study_page(study)


@pytest.fixture(scope="module")
def pictures(made):
    return page.draw_pictures(made)


@pytest.fixture(scope="module")
def html(made, pictures):
    return page.render(made, pictures, page.PAGE)


@pytest.fixture(scope="module")
def summary(made, pictures):
    return page.render(made, pictures, page.SUMMARY)


class Reader(HTMLParser):
    """Collects tags, attributes and text; void and open tags must balance."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_well_formed_and_needs_nothing_beside_it(html):
    read = Reader(html)
    assert "script" not in {tag for tag, _ in read.tags}
    for tag, attributes in read.tags:
        for name in ("src", "href"):
            if name in attributes and tag != "a":
                assert attributes[name].startswith("data:")
            elif name in attributes:
                assert attributes[name].startswith("#")
    assert re.search(r"@import|url\(", html) is None
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in read.tags if tag == "a"} <= set(ids)
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert all(image["alt"] for image in images)


def test_all_published_figures_are_there(html, pictures):
    numbers = {name for name in pictures if name.startswith("figure-")}
    assert numbers == {f"figure-{number}" for number in (1, 2, "3-4", 5, 6, 7, 8, 9, 10)}
    assert html.count("<img") == len(pictures)


def test_every_picture_says_what_it_shows(made):
    for section in made.sections:
        for picture in section.pictures:
            assert re.fullmatch(r"small, .* rows · (softmax|hinge), .* · 2 epochs, .*seed.*",
                                picture.foot), picture.foot  # fmt: skip


def test_hostile_names_are_text(html, summary):
    read = Reader(html)
    text = "".join(read.texts)
    for name in HOSTILE:
        assert name in text
    without_code = re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", summary, flags=re.DOTALL)
    without_quotes = re.sub("^> ", "", without_code, flags=re.MULTILINE)
    assert re.search(r"(?<!\\)[<`]", without_quotes) is None
    for table in re.findall(r"(?:^\|.*\n)+", summary, flags=re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_the_page_is_small(html):
    assert len(html.encode()) <= 5_000_000


def test_every_number_of_the_tables_is_on_the_page(made, html, summary):
    text = " ".join("".join(Reader(html).texts).split())
    plain = re.sub(r"\\(.)", r"\1", summary)
    for section in made.sections:
        for table in section.tables:
            for row in table.rows:
                for column, value in zip(table.columns, row.cells, strict=True):
                    shown = " ".join(page.KINDS[column.kind](value).split())
                    assert shown in text
                    assert shown in plain


def test_the_rule_is_stated_once_and_every_difference_follows_it(study, html):
    for text in (RULE | CLAIM_RULE).values():
        assert "".join(Reader(html).texts).count(text) == 1
    for name, found in study.differences.items():
        said = wording.verdict(found)
        if found.interval is not None:
            assert said.startswith("a difference") == (not found.low <= 0 <= found.high), name
        assert said in html
    assert not re.search("confirmed|refuted|within noise|seeds explain", html)


def test_a_study_of_other_data_or_epochs_is_not_compared_with_the_published(study, monkeypatch):
    own = study_page(study)
    assert own.notice == ""
    assert {"published", "the claim"} <= columns_of(own)
    monkeypatch.setattr(experiments, "EPOCHS", 40)
    assert "the study has 40" in study_page(study).notice
    monkeypatch.setattr(study, "is_published_data", False)
    other = study_page(study)
    assert "not from the data of the study" in other.notice
    assert not {"published", "the claim"} & columns_of(other)
    assert not re.search("agree|published ones", str([other.tiles, other.sections[:2]]))
    (table,) = other.sections[0].tables
    ids = {row.cells[0].partition(" ")[0] for row in table.rows}
    assert ids == {one.id for one in (*experiments.with_published(), *experiments.VARIANTS)}
    assert study._differences().keys() == {
        c.id for c in (*experiments.CONCLUSIONS, *experiments.DETAILS, *experiments.OUTLOOK)
    }


def columns_of(found):
    tables = [table for section in found.sections for table in section.tables]
    return {column.title for table in tables for column in table.columns}


def test_the_grid_marks_what_its_table_does_not_tell_from_the_winner(study, made):
    (section,) = (section for section in made.sections if section.id == "grid")
    (picture,), (table,) = section.pictures, section.tables
    drawn = picture.draw(figures)
    dashed = [p for p in drawn.axes[0].patches if p.get_linestyle() != "solid"]
    _, against = study.against_winner()
    apart = sum(found.is_seen for found in against.values())
    assert 27 - apart - 1 <= len(dashed) <= 27 - apart  # the best is outlined otherwise
    said = {row.cells[-1] for row in table.rows}
    assert any(words.startswith(("no difference", "the same")) for words in said)


def test_rows_that_are_no_images_have_no_pictures_of_weights(study, monkeypatch):
    monkeypatch.setattr(study, "image_shape", None)
    plain = study_page(study)
    names = {picture.name for section in plain.sections for picture in section.pictures}
    assert "figure-5" in names
    assert not {"figure-6", "figure-8", "figure-10", "best-templates"} & names
    Reader(page.render(plain, {}, page.PAGE))


def test_settings_as_text():
    config = TrainConfig(
        lr=0.02, l2=0.001, schedule="cosine", flip=True, standardize=True, momentum=0.9
    )
    text = (
        "softmax, lr 0.02, l2 0.001, batch 64, standardised, mirrored images, cosine schedule, "
        "momentum 0.9"
    )
    assert wording.settings_text(config.to_dict()) == text


def test_a_page_that_is_read_again_is_the_same(made, html, pictures, tmp_path):
    from fastlin.report import results as files

    files.save_results(tmp_path, "study", made)
    page.save_page(tmp_path, made, pictures, [page.PAGE])
    kind, again = files.load_results(tmp_path)
    assert (kind, page.render(again, page.read_pictures(tmp_path, again), page.PAGE)) == (
        "study", html,
    )  # fmt: skip
    (tmp_path / "figures/figure-1.png").write_bytes(b"no picture")
    (tmp_path / "figures/figure-2.png").unlink()
    left = page.read_pictures(tmp_path, again)
    assert set(pictures) - set(left) == {"figure-1", "figure-2"}


class Browser:
    """Chromium, driven over a pipe by its DevTools protocol: JSON messages that end in a zero."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._number, self._buffer = 0, b""
        self.events, self.session = [], None

    def send(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._reader, 1 << 16)
            assert piece, "chromium went away"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def evaluate(self, expression):
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"]["value"]

    def open(self, path):
        self.send("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + 30
        while self.evaluate("document.readyState") != "complete":
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def browser():
    if BROWSER is None or BASH is None:
        pytest.skip("needs Chromium and bash on the PATH")
    to_read, to_write = os.pipe(), os.pipe()
    profile = tempfile.mkdtemp()
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --remote-debugging-pipe"
    )
    command = (
        f'exec "{BROWSER}" {flags} --user-data-dir="{profile}" 3<&{to_write[0]} 4>&{to_read[1]}'
    )
    process = subprocess.Popen(
        [BASH, "-c", command], pass_fds=(to_write[0], to_read[1]),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_write[0])
    os.close(to_read[1])
    driven = Browser(to_read[0], to_write[1])
    try:
        target = driven.send("Target.createTarget", url="about:blank")["targetId"]
        attached = driven.send("Target.attachToTarget", targetId=target, flatten=True)
        driven.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            driven.send(f"{domain}.enable")
        yield driven
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(to_read[0])
        os.close(to_write[1])
        shutil.rmtree(profile, ignore_errors=True)


def test_a_browser_shows_it_all_at_any_width_in_light_and_dark(html, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    with browser() as chromium:
        for width, height, mobile in ((1280, 900, False), (390, 844, True), (320, 640, True)):
            chromium.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                          deviceScaleFactor=1, mobile=mobile)  # fmt: skip
            backgrounds = []
            for scheme in ("light", "dark"):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                chromium.send("Emulation.setEmulatedMedia", media="screen", features=[feature])
                chromium.open(path)
                root = "document.documentElement"
                assert chromium.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
                assert chromium.evaluate("innerWidth") == width
                shown = chromium.evaluate(
                    "[...document.images].map(i => i.complete && i.naturalWidth > 0)"
                )
                assert len(shown) == html.count("<img")
                assert all(shown)
                backgrounds.append(
                    chromium.evaluate("getComputedStyle(document.body).backgroundColor")
                )
            assert len(set(backgrounds)) == 2
        told = [event for event in chromium.events if event["method"] in {
            "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded",
        }]  # fmt: skip
        assert told == []
        asked = {event["params"]["request"]["url"].partition(":")[0] for event in chromium.events
                 if event["method"] == "Network.requestWillBeSent"}  # fmt: skip
        assert asked <= {"file", "data"}


def test_a_picture_that_cannot_be_drawn_is_missing_and_told(made, pictures, monkeypatch):
    def breaks(*_):
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("fastlin.figures.confusions", breaks)
    told = []
    drawn = page.draw_pictures(made, told.append)
    missing = {name for name in pictures if name.endswith("confusion")}
    assert missing
    assert set(pictures) - set(drawn) == missing
    assert len(told) == len(missing)
    assert all(line.endswith("is not drawn: RuntimeError: no fonts") for line in told)
    html = page.render(made, drawn, page.PAGE)
    assert "Where linear classifiers err" in html
    assert "-confusion" not in page.render(made, drawn, page.SUMMARY)
    with pytest.raises(RuntimeError):
        page.draw_pictures(made)


def test_pictures_of_an_earlier_page_are_removed(made, tmp_path):
    page.save_page(tmp_path, made, {"old": b"\x89PNG", "kept": b"\x89PNG"}, [page.PAGE])
    page.save_page(tmp_path, made, {"kept": b"\x89PNG2"}, [page.SUMMARY])
    (left,) = (tmp_path / page.FIGURES).iterdir()
    assert left.read_bytes() == b"\x89PNG2"


def test_the_pictures_of_a_page_have_a_largest_size(made, pictures, monkeypatch):
    some = sum(map(len, pictures.values())) // 2
    monkeypatch.setattr(page, "MAX_BYTES", some)
    drawn = page.draw_pictures(replace(made, sections=made.sections))
    assert 0 < sum(map(len, drawn.values())) <= some
