"""Evaluates a run of train.py: are its features better than those it started from?

    python evaluate.py --run_dir=RUN
    python evaluate.py --run_dir=RUN --test_dir=OTHER_LABELLED_IMAGES
    python evaluate.py --run_dir=RUN --baseline=random,supervised

It needs labels: class sub-folders, an array `labels` in an .npz file, or --labels=FILE.csv. They
are used here alone, never in training. Results go to RUN/evaluation, or to --out, as JSON and
Markdown.

Exit codes: 0 on success, 2 on flags or images that the program cannot work with.
"""

import os

from dc_keras.config import EvaluationConfig as Settings
from dc_keras.process import prepare_process


def main(settings: Settings) -> None:
    """Runs the evaluation and prints its table."""
    prepare_process()
    from dc_keras.evaluation.evaluate import evaluate
    from dc_keras.evaluation.text import to_terminal

    report = evaluate(settings)
    curves = f"{settings.run_dir}/tensorboard"
    print(
        f"{to_terminal(report)}\n"
        f"How it was measured: {settings.out or f'{settings.run_dir}/evaluation'}/report.md\n"
        f"Cluster of each image: {settings.run_dir}/model/clusters.csv"
    )
    # A run of dc-keras cluster has none.
    if os.path.isdir(curves):
        print(f"Curves and pictures of clusters: tensorboard --logdir={curves}")
