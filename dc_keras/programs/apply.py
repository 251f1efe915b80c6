"""Applies labels that were given in a gallery to its run: names, merged and rejected clusters.

    dc-keras apply labels.json --run_dir=RUN
    dc-keras apply --undo --run_dir=RUN

The names are kept in RUN/names.json. `dc-keras assign` and a new gallery use them from then on.
RUN/groups.csv, or groups.csv in --out, tells the group of every image, also of those that were
split off. --undo removes both files; nothing else in the run was changed.

Exit codes: 0 on success, 2 on labels or a run that the program cannot work with.
"""

import pathlib

from dc_keras.config import ApplyConfig as Settings
from dc_keras.errors import InputError
from dc_keras.files import explain_write_errors, make_folder
from dc_keras.process import load_libraries_quietly, printable
from dc_keras.programs.run import command

_GROUPS = "groups.csv"


def main(settings: Settings) -> None:
    """Applies the labels, or takes them back, and says what came of it."""
    load_libraries_quietly()
    from dc_keras.runs.run_directory import RunDirectory

    run = RunDirectory(settings.run_dir)
    run.config()  # Whether there is a run at all.
    folder = pathlib.Path(settings.out or settings.run_dir)
    if settings.undo:
        print(printable(_undo(run, folder / _GROUPS)))
    else:
        print(printable(_apply(run, settings.labels, folder)))


def _apply(run, labels: str, folder: pathlib.Path) -> str:
    from dc_keras.exploring.cluster_names import names_file, save_names
    from dc_keras.exploring.gallery import gallery_id
    from dc_keras.exploring.gallery_labels import (
        apply_labels,
        check_groups_file,
        read_labels,
        write_groups,
    )
    from dc_keras.exploring.run_images import final_clusters

    final = final_clusters(run)
    names, clusters, num_clusters = final
    groups = read_labels(
        labels,
        gallery=gallery_id(*final),
        num_images=len(names),
        num_clusters=num_clusters,
    )
    labelled = apply_labels(groups, clusters, num_clusters)
    check_groups_file(folder / _GROUPS)
    make_folder(folder)
    write_groups(folder / _GROUPS, names, clusters, labelled)
    save_names(run, labelled.cluster_names)
    named = sum(name != "" for name in labelled.cluster_names)
    return (
        f"Applied: {named:,} of {num_clusters:,} clusters have names, in {names_file(run)}\n"
        f"The group of each image is in {folder / _GROUPS}\n"
        f"To take it back: {command('apply')} --undo --run_dir={run.path}"
    )


def _undo(run, groups: pathlib.Path) -> str:
    from dc_keras.exploring.cluster_names import names_file, remove_names
    from dc_keras.exploring.gallery_labels import check_groups_file

    if not names_file(run).exists():
        raise InputError(
            f"There is nothing to take back. Received: --undo with --run_dir={run.path}, which has "
            f"no {names_file(run).name}. Expected a run to which labels were applied."
        )
    check_groups_file(groups)
    remove_names(run)
    with explain_write_errors(groups):
        groups.unlink(missing_ok=True)
    return f"Taken back: removed {names_file(run)} and {groups}"
