"""What a report tells of PASCAL VOC: its tables, and how the figures were measured."""

from collections.abc import Sequence

from dc_keras.evaluation.tables import Column, Table
from dc_keras.evaluation.voc.tunable import FC
from dc_keras.evaluation.voc.voc_images import Voc
from dc_keras.evaluation.voc.voc_svm import C_GRID, FOLDS, POSITIVE_WEIGHT
from dc_keras.evaluation.voc.voc_tuning import ITERATIONS, TuningOptions

_GROUPS = {"": "11-point mAP", "_area": "area mAP", "_envelope": "mAP since VOC 2010"}


def tables(layers: Sequence[str], tuned: Sequence[str] = ()) -> list[Table]:
    """The tables of SVMs and of fine-tuning, without those that nothing was measured for.

    Args:
        layers: Names that layers are reported under.
        tuned: What was fine-tuned: "all", "fc" or both.
    """
    made = []
    for prefix, names, heading in (
        ("voc_svm", layers, "PASCAL VOC, linear SVMs"),
        ("voc_tuned", tuned, "PASCAL VOC, fine-tuned"),
    ):
        columns = [
            Column(f"{prefix}_{name}{ending}", group, name, ".1%")
            for ending, group in _GROUPS.items()
            for name in names
        ]
        if columns:
            made.append(
                Table(
                    columns, f"{heading}: mean over the classes of the average precision", heading
                )
            )
    return made


def method(
    voc: Voc, *, layers: Sequence[str] = (), tuned: Sequence[TuningOptions] = ()
) -> list[str]:
    """How the figures were measured, as Markdown; arguments are what was."""
    lines = [
        f"- VOC: {voc.description}. Average precision of each class over the test images, without "
        "those in which it is labelled difficult; of equal scores, images without the class come "
        "first. 11-point is that of VOC 2007; area that of scikit-learn, as in the release of "
        "DeepCluster; since VOC 2010 the area under the curve made to fall counts. Compare figures "
        f"of the same definition only. {' '.join(voc.remarks)}".rstrip()
    ]
    if layers:
        lines.append(
            f"- VOC SVMs: of the centre crops, features of {', '.join(layers)} (convolutions after "
            "batch norm and ReLU, averaged over the finest square grid of at most 9,216 values; "
            "fully connected ones before their ReLU), divided by their L2 norm. One linear SVM a "
            "class (squared hinge, an image of the class "
            f"counts {POSITIVE_WEIGHT:g} times), fitted without the difficult. Its C is chosen for "
            f"each class from {', '.join(f'{c:g}' for c in C_GRID)} by the mean area of {FOLDS} "
            "folds of the training images in their order, with equal shares of positives."
        )
    lines.extend(_of_tuning(options) for options in tuned)
    return lines


def _of_tuning(options: TuningOptions) -> str:
    """How a network was fine-tuned, as Markdown."""
    what, norm = "all layers are trained", "scale and offset of batch norm are trained, its"
    if options.parts == FC:
        what = "fc6, fc7 and head are trained"
        if not options.train_batch_norm:
            norm = "batch norm is as it was, its"
    shorter = (
        ""
        if options.iterations == ITERATIONS
        else f" The published schedule is {ITERATIONS:,} steps: compare figures of equal numbers."
    )
    return (
        f"- VOC fine-tuning ({options.parts}): {what}; {norm} statistics stay. fc6 and fc7 begin "
        "from N(0, 0.01), wider in narrow networks that were made so, the head uniformly within "
        "one over the root of its inputs, biases at 0.1. SGD of "
        f"{options.iterations:,} steps of {options.batch_size} random squares of 10 to 50 % of the "
        f"area, half of them mirrored; rate {options.learning_rate:g}, halved 15 times at equal "
        f"distances, momentum {options.momentum:g}, weight decay {options.weight_decay:g} (L2), "
        f"gradients of a norm above {options.max_norm:g} scaled down to it; binary cross-entropy "
        "summed over the classes without the difficult. Test scores are the sums of the logits "
        f"over {options.crops} random squares of each image.{shorter}"
    )
