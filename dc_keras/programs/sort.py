"""Sorts the images of a run into a folder for each cluster, the largest one first.

    dc-keras sort --run_dir=RUN --out=SORTED              links
    dc-keras sort --run_dir=RUN --out=SORTED --copy       copies
    dc-keras sort --run_dir=RUN --out=SORTED --move       the images themselves
    dc-keras sort --run_dir=RUN --out=SORTED --dry_run    nothing, but tells what would be done
    dc-keras sort --undo --out=SORTED                     back to how it was

Folders are called 000_NAME by the names that clusters were given, or 000_cluster_17; images that
lie apart from all others go into noise. Nothing is ever overwritten. SORTED/sorted.csv tells what
was put where, and is what --undo goes by.

Exit codes: 0 on success, 1 if --undo left something as it is, 2 on flags, images or a run that the
program cannot work with.
"""

import sys

from dc_keras.config import SortConfig as Settings
from dc_keras.process import prepare_process, printable


def main(settings: Settings) -> None:
    """Sorts or undoes, and says what came of it."""
    if settings.undo:
        _undo(settings.out)
        return
    prepare_process()
    from dc_keras.exploring import sorted_folders
    from dc_keras.exploring.exploration import explore

    sorted_folders.check_output(settings.out)
    action = "move" if settings.move else "copy" if settings.copy else "link"
    progress = sys.stderr.isatty()
    exploration = explore(settings.run_dir, batch_size=settings.batch_size, progress=progress)
    found = exploration.found
    places, missing = sorted_folders.without_missing(sorted_folders.plan(found))
    sorted_folders.check(places, settings.out, action, found.root)
    if missing:
        print(printable(f"Not there any more: {len(missing):,}{sorted_folders.shown(missing)}"))
    print(printable("\n".join(sorted_folders.describe(places))))
    if settings.dry_run:
        print(f"Nothing was done. Without --dry_run: a {action} of each in {settings.out}")
        return
    sorted_folders.sort_images(places, settings.out, action, progress=progress)
    done = {"link": "Linked to", "copy": "Copied", "move": "Moved"}[action]
    print(f"{done} {len(places):,} images: {settings.out}")
    print(f"Undo with: dc-keras sort --undo --out={settings.out}")


def _undo(out: str) -> None:
    from dc_keras.exploring.sorted_folders import shown, undo

    undone = undo(out, progress=sys.stderr.isatty())
    print(f"As before: {undone.count:,} images")
    if undone.left:
        lines = [f"{path} {why}" for path, why in undone.left]
        print(printable(f"Left as they are: {len(lines):,}{shown(lines)}"), file=sys.stderr)
        sys.exit(1)
