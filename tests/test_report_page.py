"""The page itself: what a browser makes of it, and what it makes of hostile names."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from html.parser import HTMLParser

import numpy as np
import pytest

from fastlin.report import page
from fastlin.report import results as files
from fastlin.report.study import statistics, wording

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b & \"c\" 'd'",
    "$x_1$ *d* `e`",
    "</style><b>",
    "\N{BOM}ü\nn",
)
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
BASH = shutil.which("bash")


def sample(values):
    return {"values": list(values), **statistics.summarise(values)._asdict()}


def made_up_results():
    """Results of a study as `findings` gives them, made up; names of classes are hostile."""
    from fastlin.report.study import experiments as study

    rng = np.random.default_rng(0)
    seeds, epochs, K = 3, 4, len(HOSTILE)

    def accuracies(n=seeds):
        return sample(rng.uniform(0.35, 0.4, n))

    def curves():
        falling = 2 - 0.1 * np.arange(epochs) + rng.normal(0, 0.01, (seeds, epochs))
        return {"epoch": list(range(1, epochs + 1)), "lr": [0.1] * epochs,
                **{name: falling.tolist() for name in files.CURVES}}  # fmt: skip

    def describe(experiment):
        accuracy = accuracies()
        published = experiment.published
        found = {
            "id": experiment.id, "title": experiment.title, "kind": experiment.kind,
            "train_rows": 100, "published": published,
            "command": f"fastlin train --data '{' '.join(HOSTILE)}'",
            "settings": [experiment.configs(seed, epochs)[0].to_dict() for seed in range(seeds)],
            "test_accuracy": accuracy, "curves": curves(),
            **{name: accuracies() for name in files.MEASURES if name != "test_accuracy"},
        }  # fmt: skip
        if published is not None:
            found["against_published"] = {
                "difference": 0.01, "error": 0.005, "verdict": "reproduced",
                "reach_of_seeds": 0.004,
            }  # fmt: skip
        return found

    def compare(comparison):
        return {
            "id": comparison.id, "title": comparison.title, "change": comparison.change,
            "first": comparison.first, "second": comparison.second, "claim": comparison.claim,
            "expects": comparison.expects, "error_over_rows": 0.003, "spreads": [0.01, 0.002],
            **{part: statistics.paired_difference(rng.random(seeds), rng.random(seeds))._asdict()
               for part in ("test", "val")},
        }  # fmt: skip

    def grid(experiment):
        entries = [
            {"settings": {name: getattr(config, name) for name in experiment.swept or ("lr",)},
             "val_accuracy": accuracies(), "test_accuracy": accuracies()}
            for config in experiment.configs(0, epochs)
        ]  # fmt: skip
        others = [
            {"entry": index, **{f"{part}_accuracy": {
                **statistics.paired_difference(rng.random(seeds), rng.random(seeds))._asdict(),
                "p_holm": 0.5} for part in ("val", "test")}}
            for index in range(1, len(entries))
        ]  # fmt: skip
        return {"swept": {name: list(values) for name, values in experiment.swept.items()},
                "seeds": seeds, "entries": entries, "winners": [0] * seeds,
                "published_winner": 0, "order": list(range(len(entries))),
                "against_winner": others}  # fmt: skip

    by_id = {experiment.id: experiment for experiment in study.all_experiments()}
    data = {"name": HOSTILE[0], "sha256": "0" * 64, "rows": {"train": 100, "val": 50, "test": 50},
            "features": 12, "dtype": "uint8", "class_names": list(HOSTILE),
            "image_shape": [3, 2, 2]}  # fmt: skip
    arrays = {f"weights {name}": rng.normal(size=(K, 12)) for name in ("D1", "G1w", "V1", "F1")}
    arrays |= {f"gradient {name}": rng.normal(size=(K, 12)) for name in ("X0", "X1")}
    arrays["wrong"] = rng.integers(0, 256, (K, 3, 2, 2)).astype(np.uint8)
    return {
        "format": files.FORMAT, "kind": "study", "source": study.SOURCE,
        "study_ids": [experiment.id for experiment in study.PUBLISHED],
        "data": data, "full_data": data, "is_published_data": False, "seeds": list(range(seeds)),
        "epochs": epochs, "published_epochs": study.EPOCHS, "noise_errors": 2.0,
        "command": "fastlin report", "best": "F1",
        "experiments": {name: describe(experiment) for name, experiment in by_id.items()},
        "explanations": [
            {"id": name, "text": text, "tests": list(tests),
             "within_seeds": dict.fromkeys((name, *tests), False)}
            for name, (text, tests) in study.EXPLANATIONS.items()
        ],
        "conclusions": [compare(c) for c in study.CONCLUSIONS],
        "details": {name: [compare(c) for c in found] for name, found in study.DETAILS.items()},
        "outlook": [compare(c) for c in study.OUTLOOK],
        "grids": {name: grid(by_id[name]) for name in ("G1", "T1", "H1", "N1", "F1")},
        "errors": {name: {"confusion": rng.integers(0, 9, (K, K)).tolist(),
                          "per_class": rng.random(K).tolist()} for name in ("G1w", "F1")},
        "wrong": [{"row": k, "true": k, "predicted": (k + 1) % K, "lead": 1.0, "probability": 0.9}
                  for k in range(K)],
        "arrays": {name: files.pack(array) for name, array in arrays.items()},
        "computed": {
            "processor": "<b>CPU", "processor_kind": "x", "cores": 2, "system": "Linux",
            "versions": {"fastlin": "1"}, "date": "2000-01-01", "threads": 2, "runs": 10,
            "runs_trained_now": 5, "seconds_training": 100.0, "seconds_now": 50.0,
            "experiments": {name: {"runs": 3, "seconds": 1.5, "samples_per_second": 1e6}
                            for name in by_id},
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def results():
    return json.loads(json.dumps(made_up_results()))


@pytest.fixture(scope="module")
def pictures(results):
    return page.draw(results)


@pytest.fixture(scope="module")
def html(results, pictures):
    return page.render_html(results, pictures)


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
    for picture in pictures.values():
        assert picture.png.startswith(b"\x89PNG")


def test_hostile_names_are_text(html, results, pictures):
    read = Reader(html)
    text = "".join(read.texts)
    for name in HOSTILE:
        assert name in text
    assert "<b>CPU" in text
    summary = page.render_markdown(results, pictures)
    without_code = re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", summary, flags=re.DOTALL)
    assert re.search(r"(?<!\\)[<`]", without_code) is None
    for table in re.findall(r"(?:^\|.*\n)+", summary, flags=re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_the_page_is_small(html):
    assert len(html.encode()) <= 5_000_000


def test_numbers_come_from_the_results(results, pictures):
    changed = json.loads(json.dumps(results))
    changed["experiments"]["S0"]["test_accuracy"]["mean"] = 0.123456
    changed["conclusions"][1]["test"]["mean"] = -0.0765
    changed["grids"]["G1"]["entries"][0]["val_accuracy"]["mean"] = 0.654321
    changed["computed"]["experiments"]["V1"]["samples_per_second"] = 7_654_321
    changed["errors"]["F1"]["per_class"][0] = 0.9876
    for render in (page.render_html, page.render_markdown):
        text = render(changed, pictures)
        before = render(results, pictures)
        for number in ("12.35 ±", "\N{MINUS SIGN}7.65 points", "65.43", "7,654,321", "98.8 %"):
            assert number in text
            assert number not in before


def test_a_study_of_its_own_data_has_no_notice(results, pictures, html):
    assert "Not comparable" in html
    changed = {**results, "is_published_data": True, "epochs": results["published_epochs"]}
    for render in (page.render_html, page.render_markdown):
        assert "Not comparable" not in render(changed, pictures)
    short = {**changed, "epochs": 3}
    assert "the study has 40" in page.render_html(short, pictures)


def test_a_picture_that_cannot_be_drawn_is_left_out(results):
    plain = json.loads(json.dumps(results))
    plain["data"]["image_shape"] = None
    del plain["arrays"]["wrong"]
    drawn = page.draw(plain)
    assert not {"figure-6", "figure-8", "figure-10", "best-templates", "wrong"} & set(drawn)
    Reader(page.render_html(plain, drawn))
    page.render_markdown(plain, drawn)


def test_settings_as_text():
    from fastlin import TrainConfig

    config = TrainConfig(l2=0.001, schedule="cosine", flip=True, standardize=True, momentum=0.9)
    text = "λ 0.001, batch 64, η 0.02, cosine schedule, momentum 0.9, standardised, mirrored images"
    assert wording.settings_text(config.to_dict()) == text


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


def test_a_picture_that_cannot_be_drawn_is_missing_and_told(results, pictures, monkeypatch):
    def breaks(*_):
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("fastlin.figures.confusion_matrix", breaks)
    told = []
    drawn = page.draw(results, told.append)
    missing = {name for name in pictures if name.startswith("confusion-")}
    assert missing
    assert set(pictures) - set(drawn) == missing
    assert len(told) == len(missing)
    assert all(line.endswith("is not drawn: RuntimeError: no fonts") for line in told)
    html = page.render_html(results, drawn)
    assert "Where linear classifiers err" in html
    assert "confusion-" not in page.render_markdown(results, drawn)
    with pytest.raises(RuntimeError):
        page.draw(results)
