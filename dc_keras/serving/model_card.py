"""What is written beside an exported model for people: model_card.md."""

from collections.abc import Sequence

from dc_keras.config import TrainingConfig
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.machine import library_versions
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.cluster_model import BLOCKS, ClusterModel

# Settings of the machine and of files, which say nothing of the model.
_NOT_TOLD = {"run_dir", "resume", "dry_run", "gallery", "strategy", "virtual_devices", "cache"}
_INPUTS = {"features_uint8": "`images`, uint8 (n, h, w, 3)"}
_OUTPUTS = {
    "serving_default": "`features`",
    "features_uint8": "`features`",
    "embedding": "`embedding`: features after PCA, of unit length",
    "assign": "`cluster`, `name`, `distance`, `margin`, `outlier`, `top_clusters`, `top_distances`",
    "layers": "the outputs of layers, by their names",
}


def model_card(
    run: RunDirectory, model: ClusterModel, signatures: Sequence[str], *, onnx: bool
) -> str:
    """Writes the card of a model.

    Args:
        run: Its run.
        model: The model.
        signatures: Names of its signatures.
        onnx: Whether model.onnx is beside it.

    Returns:
        Markdown.
    """
    config = run.config()
    sections = [
        "# Model card",
        _what_it_is(run, config),
        "## How is it called?",
        _signatures(signatures, onnx),
        "## What was it made of?",
        _images(run),
        "## How good is it?",
        _figures(run),
        "## What does it not know?",
        "It has learned from the images above alone, and says nothing of others that can be relied "
        "on before it was tried. A cluster is what these images have in common, not a class. "
        "`outlier` says that an image is farther from its cluster than 95 % of those images are; "
        "images of another kind are flagged more often, not always.",
        "## Versions and licence",
        _versions(),
        "dc_keras is under the Apache License 2.0. What may be done with the weights is up to "
        "whoever made them and to the licences of the images.",
        "## Settings",
        "```\n" + _settings(config.to_flagfile()) + "```",
    ]
    return "\n\n".join(sections) + "\n"


def _what_it_is(run: RunDirectory, config: TrainingConfig) -> str:
    given = load_given(run)
    if given is None:
        return (
            f"Features of images by {config.arch} with batch norm, width {config.width:g}, at "
            f"{config.image_size} pixels, learned by DeepCluster (dc_keras) without labels."
        )
    return (
        f"Features of images by a network that was given, `{given.file}`: {given.told}. Nothing "
        "was trained here; the clusters are of these features."
    )


def _signatures(names: Sequence[str], onnx: bool) -> str:
    lines = ["| signature | takes | gives, with `status` |", "|---|---|---|"]
    for name in names:
        takes = _INPUTS.get(name, "`image_bytes`, encoded images (n,)")
        lines.append(f"| `{name}` | {takes} | {_OUTPUTS[name]} |")
    told = (
        "`status` is empty where an image was read, else the reason why not. Batches of any size; "
        f"on CPUs, multiples of {BLOCKS[0]} are fastest for each image."
    )
    beside = " `model.onnx` takes squares of pixels and gives the same." if onnx else ""
    return "\n".join(lines) + f"\n\n{told}{beside}"


def _images(run: RunDirectory) -> str:
    if not run.manifest.exists():
        return "Weights that were imported; nothing is known here of the images."
    manifest = read_manifest(run.manifest)
    classes = len({label for label in manifest.labels if label})
    labels = f", in folders of {classes:,} classes, which it never saw" if classes else ""
    return f"{len(manifest.names):,} images of `{run.config().data_dir}`{labels}."


def _figures(run: RunDirectory) -> str:
    """The report of the evaluation, or what the training has noted of its last clustering."""
    report = run.evaluation / "report.md"
    if report.is_file():
        text = report.read_text(encoding="utf-8").strip()
        return text.replace("# Evaluation", "### Evaluation", 1)
    told = [record for record in run.read_metrics() if isinstance(record.get("cluster"), dict)]
    if not told:
        return "Not measured."
    last = told[-1]
    figures = last["cluster"]
    shown = {
        "clusters": figures.get("clusters"),
        "smallest, median and largest": "{smallest}, {median:g}, {largest}".format(**figures),
        "NMI of clusters and classes": figures.get("nmi_labels"),
        "crops that find their image again": figures.get("views_retrieved"),
    }
    lines = [f"After {last['epoch']:,} epochs, by the training itself:", ""]
    for name, value in shown.items():
        if value is not None:
            lines.append(f"- {name}: {f'{value:.3f}' if isinstance(value, float) else value}")
    return "\n".join(lines)


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in library_versions().items()) + "."


def _settings(flagfile: str) -> str:
    lines = flagfile.splitlines(keepends=True)
    return "".join(
        line for line in lines if line.partition("=")[0].removeprefix("--") not in _NOT_TOLD
    )
