"""Makes a page that shows the clusters of a finished run: one folder, opened by a double click.

    dc-keras gallery --run_dir=RUN
    dc-keras gallery --run_dir=RUN --out=GALLERY

Open index.html in the folder: no server and no network is needed. Clusters by size, their
borderline images and outliers, what is nearest to each image, copies, a map, a search, and a place
to name, merge, split and reject clusters, of which `dc-keras apply` tells the run. The first call
looks at all images, which is kept in RUN/exploration.

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

import os
import pathlib
import sys

from dc_keras.config import GalleryConfig as Settings
from dc_keras.process import prepare_process, printable
from dc_keras.programs.run import command


def main(settings: Settings) -> None:
    """Makes the gallery and says where it is."""
    prepare_process()
    print(printable(make_gallery(settings.run_dir, settings.out)))


def make_gallery(run_dir: str, out: str = "") -> str:
    """Makes a gallery of a finished run.

    Args:
        run_dir: The run.
        out: Where to; default: gallery in the run.

    Returns:
        What to tell the user.
    """
    from dc_keras.exploring.exploration import explore
    from dc_keras.exploring.gallery import (
        GalleryRun,
        check_gallery_folder,
        gallery_files,
        gallery_id,
        link_to,
        write_gallery,
    )
    from dc_keras.exploring.run_images import final_clusters
    from dc_keras.runs.run_directory import RunDirectory

    run = RunDirectory(run_dir)
    folder = pathlib.Path(out) if out else run.path / "gallery"
    check_gallery_folder(folder)
    explored = explore(run_dir, progress=sys.stderr.isatty())
    found = explored.found
    final = final_clusters(run)
    images = os.path.abspath(run.config().data_dir)
    shown = GalleryRun(
        title=os.path.basename(images),
        link=link_to(found.root, folder),
        identity=gallery_id(*final),
        rows=explored.indices,
        num_rows=len(final.names),
    )
    write_gallery(folder, gallery_files(found, explored.thumbnails, shown))
    return (
        f"Gallery of {len(found.paths):,} images: open {folder / 'index.html'}\n"
        f"Labels given in it: {command('apply')} labels.json --run_dir={run_dir}"
    )
