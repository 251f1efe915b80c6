"""The gallery's page in a real browser, from the disk, by its own buttons and keys.

Skipped where Playwright or a Chromium is missing.
"""

import csv
import json
import os
import shutil
import time

import numpy as np
import pytest
from found import found_images, thumbnails, whole_run
from PIL import Image

from dc_keras.config import ApplyConfig
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.exploring.cluster_names import load_names
from dc_keras.exploring.gallery import gallery_files, link_to, write_gallery
from dc_keras.programs import apply
from dc_keras.runs.run_directory import RunDirectory
from tiny import tiny

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="There is no Chromium here.")

HOSTILE = [
    "<script>alert(1)</script>.png",
    "<img src=x onerror=alert(2)>.png",
    "quotes \"'`.png",
    "two\nlines.png",
    "latin-caf\udce9.png",
    "nfd-cafe\u0301.png",
    "100% #1?a=b&c;d.png",
    "back\\slash.png",
    "=1+1.png",
    "\u202egnp.right",
    "</script><b>.png",
]
PATHS = HOSTILE + [f"plain/image-{i:03d}.png" for i in range(60)]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of images with hostile names, and its gallery."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run #1 100%")
    images = run.path.parent / "images <b>"
    run.model.mkdir(parents=True)
    tiny(images, run.path).save(run.flags)
    for path, pixels in zip(PATHS, thumbnails(len(PATHS)), strict=True):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        with open(images / path, "wb") as file:
            Image.fromarray(pixels).resize((70, 50)).save(file, "PNG")
    found = found_images(PATHS, 5, root=str(images))
    groups, kinds = found.duplicate_groups, found.duplicate_kinds
    groups[[0, 1, 2]], kinds[[0, 1, 2]] = 0, 1
    source = ArraySource(np.zeros((len(PATHS), 2, 2, 3), np.uint8), PATHS)
    write_manifest(source, run.manifest)
    np.save(run.model / "centroids.npy", np.zeros((5, 2), np.float32))
    with open(run.model / "clusters.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "path", "cluster"])
        writer.writerows((i, "", c) for i, c in enumerate(found.clusters.tolist()))
    out = run.path / "gallery"
    shown = whole_run(found, title="<b>Run</b>", link=link_to(found.root, out))
    files = gallery_files(found, thumbnails(len(PATHS)), shown)
    write_gallery(out, files)
    return run


@pytest.fixture
def page(browser, run):
    """The page, open and without labels; errors in it fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    page.goto((run.path / "gallery/index.html").as_uri())
    settle(page)
    yield page
    context.close()
    assert faults == []


def until(page, expression, arg=None):
    """Waits until an expression is true.

    Not Playwright's wait_for_function: what is not true at once it evaluates again from inside the
    page, where the page's own policy forbids `eval`.
    """
    last = time.monotonic() + 30
    while not page.evaluate(expression, arg):
        assert time.monotonic() < last, f"Never true: {expression}"
        page.wait_for_timeout(20)


def settle(page):
    """Waits until what the address says is shown: keys before that mean the view before."""
    until(page, "document.body.dataset.ready === (location.hash || '#/')")


def search(page, text):
    settle(page)
    page.keyboard.press("Escape")  # out of the field, if one was there
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.get_by_role("heading", name=f"Search: {text}").wait_for()


def test_clusters_are_shown_by_size(page):
    assert page.title() == "Clusters · <b>Run</b>"
    told = page.locator(".card p.muted").all_inner_texts()
    sizes = [int(text.split()[0]) for text in told]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(PATHS)
    shown = page.locator(".card .thumb").first.evaluate("e => getComputedStyle(e).backgroundImage")
    assert "sheets/cover-0.jpg" in shown


def test_originals_of_any_name_are_found_and_shown(page):
    order = page.evaluate("Data.need('order').then((order) => [...order.places])")
    for index, path in enumerate(HOSTILE):
        page.evaluate(f"location.hash = '#/image/{order[index]}'")
        until(page, "at => document.body.dataset.ready === at", arg=f"#/image/{order[index]}")
        original = page.locator(".picture img").first
        original.wait_for()
        assert original.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [70, 50]
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        assert page.locator("h1").evaluate("h1 => h1.textContent") == shown
        assert page.locator("main script, main b, main img[src=x]").count() == 0


def test_an_image_stands_beside_its_nearest(page):
    page.locator(".card a.main-link").first.click()
    page.locator(".grid button").nth(1).click()
    page.locator(".nearest a").first.wait_for()
    assert page.locator(".nearest a").count() == 10
    captions = page.locator(".side-by-side figcaption").all_inner_texts()
    page.locator(".nearest a").nth(3).hover()
    assert page.locator(".side-by-side figcaption").nth(1).inner_text() != captions[1]
    page.locator(".nearest a").nth(3).click()
    until(
        page, "captions => document.querySelector('h1').textContent !== captions", arg=captions[0]
    )
    page.keyboard.press("Escape")
    page.locator(".grid button").first.wait_for()


def test_the_page_goes_by_keys(page):
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.closest('li').textContent"
    second = page.locator(".card").nth(1).evaluate("card => card.textContent")
    assert page.evaluate(focused) == second
    page.keyboard.press("Enter")
    page.locator(".grid button").first.wait_for()
    settle(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".nearest").wait_for()
    settle(page)
    first = page.locator("h1").inner_text()
    page.keyboard.press("ArrowRight")
    until(page, "first => document.querySelector('h1').textContent !== first", arg=first)
    settle(page)
    page.keyboard.press("Escape")
    page.locator(".grid button").first.wait_for()
    # Back where one was, on the tile of the image.
    until(page, "document.activeElement.matches('.grid button')")
    settle(page)
    page.keyboard.press("Escape")
    page.locator(".card").first.wait_for()
    settle(page)
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keys").is_visible()


def test_search_finds_names(page):
    expected = {"<script>": 1, "CAFÉ": 1, "#1?a=b": 1, "image-04": 10, "xe9": 1}
    for text, count in expected.items():
        search(page, text)
        until(
            page,
            "told => document.querySelector('#status').textContent.startsWith(told)",
            arg=f"{count} file",
        )
        assert page.locator(".found a").count() == count
    page.keyboard.press("Enter")
    assert page.locator(".found a").first.evaluate("a => a === document.activeElement")


def test_what_is_not_found_is_said(page):
    search(page, "no such name")
    page.get_by_text("0 files").first.wait_for()


def test_duplicates_are_shown_in_their_groups(page):
    page.get_by_role("link", name="Duplicates", exact=True).click()
    page.get_by_text("3 images in 1 group").wait_for()
    assert page.locator(".duplicate-groups a").count() == 3
    assert page.locator(".chip").inner_text() == "same bytes"


def test_the_map_tells_and_opens_what_is_under_the_pointer(page):
    page.get_by_role("link", name="Map", exact=True).click()
    canvas = page.locator("canvas[tabindex]")
    canvas.wait_for()
    until(page, "document.querySelector('canvas[tabindex]').width > 300")
    page.wait_for_timeout(100)
    # Where the first image of the largest cluster is drawn.
    at = page.evaluate(
        """async () => {
          const p = await Data.need("map");
          const { clientWidth: w, clientHeight: h } = document.querySelector("canvas[tabindex]");
          let [right, bottom] = [1, 1];
          p.forEach((v, i) => {
            if (i % 2) bottom = Math.max(bottom, v);
            else right = Math.max(right, v);
          });
          const s = Math.min((w - 56) / right, (h - 56) / bottom);
          return [p[0] * s + (w - right * s) / 2, p[1] * s + (h - bottom * s) / 2];
        }"""
    )
    canvas.hover(position={"x": at[0], "y": at[1]})
    page.locator(".tip-name:not(:empty)").wait_for()
    told = page.locator(".tip-name").inner_text()
    canvas.click(position={"x": at[0], "y": at[1]})
    page.locator(".nearest").wait_for()
    assert page.locator("h1").inner_text().endswith(told)


def test_labels_go_from_the_page_to_the_run_and_back(page, run, tmp_path, capsys):
    # Name the first, merge the second with the third, reject the fourth, split off two images.
    clusters = page.evaluate("Data.summary.clusters")
    page.locator(".card a.main-link").first.click()
    settle(page)
    page.keyboard.press("n")
    page.keyboard.type("cats <b>&\u202e")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="cats <b>&", exact=True).wait_for()
    page.get_by_role("button", name="Select images").click()
    for index in (0, 2):
        page.locator(".grid button").nth(index).click()
    split = page.evaluate("Data.need('order').then((order) => [order.images[0], order.images[2]])")
    page.get_by_role("button", name="Split off").click()
    page.get_by_role("heading", name="Split off, 2 images").wait_for()
    page.get_by_role("link", name="Clusters", exact=True).first.click()
    for cluster in clusters[1:3]:
        page.get_by_label(f"Select Cluster {cluster}", exact=True).check()
    page.get_by_role("button", name="Merge", exact=True).click()
    page.locator("#merge-name").fill("dogs")
    page.keyboard.press("Enter")
    page.locator(".card", has_text="2 merged").wait_for()
    page.get_by_label(f"Select Cluster {clusters[3]}", exact=True).check()
    page.get_by_role("button", name="Reject").click()
    page.locator(".card.rejected").wait_for()
    # They are still there when the page is opened again.
    page.reload()
    page.locator(".card", has_text="2 merged").wait_for()
    page.get_by_role("link", name="Labels").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download labels.json").click()
    path = tmp_path / "labels.json"
    download.value.save_as(path)
    groups = {group["name"]: group for group in json.loads(path.read_text())["groups"]}
    assert groups["dogs"]["clusters"] == clusters[1:3]
    assert groups["cats <b>&"]["clusters"] == clusters[:1]

    apply.main(ApplyConfig(labels=str(path), run_dir=str(run.path)))
    names = load_names(run)
    expected = {0: "cats <b>&", 1: "dogs", 2: "dogs", 3: "rejected", 4: ""}
    assert {i: names[cluster] for i, cluster in enumerate(clusters)} == expected
    with open(run.path / "groups.csv", newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [i for i, row in enumerate(rows) if row["group"].startswith("split off")] == sorted(
        split
    )
    apply.main(ApplyConfig(undo=True, run_dir=str(run.path)))
    assert load_names(run) == ()
    assert not (run.path / "groups.csv").exists()
    assert "Taken back" in capsys.readouterr().out

    # Cleared, and loaded again from the file.
    page.get_by_role("button", name="Clear all").click()
    page.get_by_text("Nothing yet").wait_for()
    page.locator("#labels-file").set_input_files(path)
    page.locator(".changes li").nth(3).wait_for()
    (tmp_path / "other.json").write_text(path.read_text().replace('"gallery": "', '"gallery": "0'))
    page.locator("#labels-file").set_input_files(tmp_path / "other.json")
    page.get_by_text("These labels belong to another gallery").first.wait_for()
    page.get_by_role("button", name="Undo").first.click()
    page.get_by_text("Nothing yet").wait_for()


def test_a_narrow_dark_page_does_not_run_over(browser, run):
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto((run.path / "gallery/index.html").as_uri())
    page.locator(".card").first.wait_for()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(v) for v in ground.strip("rgb()").split(",")) < 40
    cluster = page.evaluate("Data.summary.clusters[0]")
    for hash_ in ("#/", f"#/group/c{cluster}", "#/image/0", "#/map", "#/duplicates", "#/changes"):
        page.evaluate("hash => { location.hash = hash; }", hash_)
        until(page, "hash => document.body.dataset.ready === hash", arg=hash_)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, hash_
    context.close()


def test_a_folder_that_is_not_whole_says_so(browser, run, tmp_path):
    shutil.copytree(run.path / "gallery", tmp_path / "gallery")
    shutil.rmtree(tmp_path / "gallery/data")
    page = browser.new_page()
    page.goto((tmp_path / "gallery/index.html").as_uri())
    page.get_by_text("Copy the whole folder").wait_for()
    page.close()
