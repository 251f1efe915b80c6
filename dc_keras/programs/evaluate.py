"""Evaluates a run of train.py: are its features better than those it started from?

    python evaluate.py --run_dir=RUN
    python evaluate.py --run_dir=RUN --test_dir=OTHER_LABELLED_IMAGES
    python evaluate.py --run_dir=RUN --baseline=random,supervised

    python evaluate.py --flagfile=configs/evaluate_full.cfg --run_dir=RUN
    python evaluate.py --compare=RUN1,RUN2 --out=COMPARISON

Most of it needs labels: class sub-folders, an array `labels` in an .npz file, or --labels=FILE.csv.
They are used here alone, never in training. Results go to RUN/evaluation, or to --out, as a page of
HTML, JSON and Markdown. docs/evaluation.md tells what can be measured.

Exit codes: 0 on success, 2 on flags or images that the program cannot work with.
"""

import os

from dc_keras.config import EvaluationConfig as Settings
from dc_keras.process import prepare_process


def main(settings: Settings) -> None:
    """Runs the evaluation and prints its table."""
    prepare_process()
    if settings.compare:
        _compare(settings)
        return
    from dc_keras.evaluation.evaluate import evaluate
    from dc_keras.evaluation.text import to_terminal

    report = evaluate(settings)
    curves = f"{settings.run_dir}/tensorboard"
    folder = settings.out or f"{settings.run_dir}/evaluation"
    print(
        f"{to_terminal(report)}\n"
        f"Page with plots and pictures: {folder}/report.html\n"
        f"How it was measured: {folder}/report.md\n"
        f"Cluster of each image: {settings.run_dir}/model/clusters.csv"
    )
    # A run of dc-keras cluster has none.
    if os.path.isdir(curves):
        print(f"Curves and pictures of clusters: tensorboard --logdir={curves}")


def _compare(settings: Settings) -> None:
    """Compares runs by their reports, and prints the table."""
    from dc_keras.evaluation.compare.comparison import compare_runs
    from dc_keras.evaluation.compare.telling import to_terminal, write

    comparison = compare_runs(settings.compared_runs())
    print(to_terminal(comparison))
    if settings.out:
        print(f"Also as Markdown, JSON and SVG: {write(comparison, settings.out)}")
