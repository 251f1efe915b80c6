"""Time to make a gallery and to open it in Chromium, its bytes, and the memory of the browser.

    python -m benchmarks.gallery
    python -m benchmarks.gallery --data_dir=DATA

Galleries of 1,000 and of 100,000 generated images, and of 10,000 of DATA/cifar10
(docs/data_sets.md), from what is known of the images and their thumbnails on: clusters are drawn
at random. The page is opened from the disk. Opening ends when the clusters are on the screen; the
memory is that of all processes of the browser (shared pages counted in parts) after a tour: all
clusters, the largest one from end to end, 20 images, the map from far and near, and a search.
Generated images are noise of several sizes, which JPEG makes larger than photographs.
"""

import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.interleaved import arguments, data_set
from benchmarks.rows import Subject, report_limit
from dc_keras.exploring.found_images import FoundImages
from dc_keras.exploring.gallery import GalleryRun, gallery_files, link_to, write_gallery

_PACKAGES = ["pillow", "numpy"]
_TOUR = """async () => {
  const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const show = async (hash) => {
    location.hash = hash;
    while (document.body.dataset.ready !== hash) await rest(20);
  };
  const scroll = async () => {
    for (let i = 0; i < 60; i += 1) {
      window.scrollBy(0, Math.max(700, document.body.scrollHeight / 60));
      await rest(30);
    }
  };
  await show("#/");
  await scroll();
  await show(`#/group/c${Data.summary.clusters[0]}`);
  await scroll();
  for (let i = 0; i < 20; i += 1) {
    await show(`#/image/${Math.floor((i * Data.summary.images) / 20)}`);
  }
  await show("#/map");
  for (let i = 0; i < 25; i += 1) {
    document.querySelector("canvas").dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
    await rest(60);
  }
  await show("#/search/77");
  while (!/file/.test(document.getElementById("status").textContent)) await rest(20);
  await show("#/");
}"""


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=3, reads_images=True)
    with tempfile.TemporaryDirectory() as scratch:
        for n in (1000,) if options.quick else (1000, 100_000):
            thumbnails = _noise(n)
            names = [f"folder-{i % 50:02d}/photograph-{i:06d}.jpg" for i in range(n)]
            _measure(options, f"{n:,} generated", _found(names), thumbnails, scratch)
        folder = data_set(options, "cifar10/train")
        if folder is not None:
            paths = sorted(folder.glob("*/*.jpg"))[: 500 if options.quick else 10_000]
            thumbnails = np.stack([_thumbnail(path) for path in paths])
            names = [str(path.relative_to(folder)) for path in paths]
            found = _found(names, root=str(folder))
            _measure(options, f"{len(paths):,} of CIFAR-10", found, thumbnails, scratch)


def _measure(options, images: str, found: FoundImages, thumbnails: np.ndarray, scratch: str):
    out = pathlib.Path(scratch, "gallery")
    n = len(found.paths)
    made, opened, memory = [], [], []
    for _ in range(options.turns):
        started = time.perf_counter()
        run = GalleryRun(images, link_to(found.root, out), images, np.arange(n), n)
        write_gallery(out, gallery_files(found, thumbnails, run))
        made.append(time.perf_counter() - started)
        if seen := _visit(out / "index.html", images=n):
            opened.append(seen[0])
            memory.append(seen[1])
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    subject = Subject("gallery", f"{images} images", _PACKAGES)
    report_limit(options, subject, "make", made, "s", goal=2 if n <= 1000 else 60)
    report_limit(options, subject, "size", [size], "MB", goal=max(2.5, n * 250 / 100_000))
    if not opened:
        print("Left out: opening it, for want of Playwright or Chromium (requirements-browser.txt)")
        return
    report_limit(options, subject, "open", opened, "s", goal=3)
    report_limit(options, subject, "memory of the browser", memory, "MB", goal=1000)


def _visit(page: pathlib.Path, images: int) -> tuple[float, float] | None:
    """Opens a page in a new browser: seconds until it shows, and megabytes after the tour."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if not chromium:
        return None
    with sync_playwright() as started:
        before = set(_children(os.getpid()))
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.goto("about:blank")
        start = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector(".card .thumb")
        # A picture of the screen waits for what is on it to be drawn.
        tab.screenshot()
        seconds = time.perf_counter() - start
        if tab.evaluate("Data.summary.images") != images:
            raise RuntimeError("The page shows another gallery.")
        tab.evaluate(_TOUR)
        processes = set(_children(os.getpid())) - before
        memory = sum(map(_megabytes, processes))
        browser.close()
    return seconds, memory


def _children(process: int) -> Iterator[int]:
    """All processes that a process started, and those that they did."""
    for path in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from _children(child)


def _megabytes(process: int) -> float:
    """Memory of a process of Chromium, of shared pages its part."""
    try:
        if b"chromium" not in pathlib.Path(f"/proc/{process}/cmdline").read_bytes():
            return 0.0  # Playwright's own.
        lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # It has just ended.
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def _thumbnail(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC))


def _noise(n: int) -> np.ndarray:
    """Images of blots of three sizes, uint8 (n, 64, 64, 3)."""
    rng = np.random.default_rng(0)
    images = np.empty((n, 64, 64, 3), np.uint8)
    for start in range(0, n, 1000):
        some = images[start : start + 1000]
        total = np.full(some.shape, 128, np.int16)
        for side, strength in ((4, 60), (16, 25), (64, 8)):
            blots = rng.integers(-strength, strength, (len(some), side, side, 3), np.int16)
            total += blots.repeat(64 // side, axis=1).repeat(64 // side, axis=2)
        some[:] = total.clip(0, 255)
    return images


def _found(names: list[str], root: str = "") -> FoundImages:
    """What might be known of images, drawn at random: 100 images a cluster."""
    rng = np.random.default_rng(1)
    n, k = len(names), max(2, len(names) // 100)
    clusters = rng.choice(k, n, p=rng.dirichlet(np.full(k, 2.0))).astype(np.int32)
    near = np.sort(rng.random((n, 10), np.float32), axis=1)
    positions = rng.normal(size=(k, 2))[clusters] + rng.normal(scale=0.15, size=(n, 2))
    return FoundImages(
        paths=tuple(names),
        root=root,
        clusters=clusters,
        distances=rng.random(n, np.float32),
        margins=rng.random(n, np.float32),
        outlier_scores=rng.random(n, np.float32) * 2,
        outliers=rng.random(n) < 0.005,
        nearest=rng.integers(n, size=(n, 10)).astype(np.int32),
        nearest_distances=near,
        duplicate_groups=np.where(np.arange(n) < n // 100, np.arange(n) // 2, -1).astype(np.int32),
        duplicate_kinds=np.where(np.arange(n) < n // 100, 1, 0).astype(np.int8),
        positions=positions.astype(np.float32),
        cluster_neighbours=rng.integers(k, size=(k, 10)).astype(np.int32),
        cluster_names=(),
    )


if __name__ == "__main__":
    main()
