"""Named sets of configurations to compare, each a few flags beside those that all share."""

# The published recipe at small size: what configs/cifar10.cfg says, at half its width.
SMALL = (
    "--image_size=32 --width=0.25 --fc_init=scaled --dropout=0.2 --num_clusters=100 "
    "--batch_size=64 --crop_min_area=0.2"
).split()

# Larger batches give each image more others to be told from.
_IMPROVED = (
    "--mode=improved --batch_size=256 --crop_min_area=0.08 --learning_rate_schedule=cosine "
    "--dropout=0 --pca_dim=128"
).split()

_ALONE = [*_IMPROVED, "--instance_weight=0"]

SETS = {
    # Each difference from the paper alone, and all of `improved` together.
    "ablation": {
        "random": ["--epochs=0"],
        "random, colour": ["--epochs=0", "--sobel=false"],
        "paper": [],
        "sampler=released": ["--sampler=released"],
        "sampler=natural": ["--sampler=natural"],
        "sampler=reweight": ["--sampler=reweight"],
        "sobel=false": ["--sobel=false"],
        "k=20": ["--num_clusters=20"],
        "k=500": ["--num_clusters=500"],
        "improved": ["--mode=improved"],
    },
    # What images told from each other add to clusters, and clusters to them.
    "instances": {
        "random": ["--epochs=0", *_IMPROVED],
        "paper": [],
        "improved": _IMPROVED,
        "instance_weight=0": [*_IMPROVED, "--instance_weight=0"],
        "instance_weight=0.99": [*_IMPROVED, "--instance_weight=0.99"],
    },
    # The main comparison, for the full network with --flags=--width=1.
    "modes": {
        "random": ["--epochs=0", *_IMPROVED],
        "paper": [],
        "improved": _IMPROVED,
    },
    # How `improved` is trained: the length and number of its steps, and what its crops differ in.
    "recipe": {
        "improved": _IMPROVED,
        "learning_rate=0.02": [*_IMPROVED, "--learning_rate=0.02"],
        "learning_rate=0.1": [*_IMPROVED, "--learning_rate=0.1"],
        "learning_rate=0.2": [*_IMPROVED, "--learning_rate=0.2"],
        "batch_size=64": [*_IMPROVED, "--batch_size=64"],
        "batch_size=128": [*_IMPROVED, "--batch_size=128"],
        "batch_size=512": [*_IMPROVED, "--batch_size=512"],
        "instance_temperature=0.1": [*_IMPROVED, "--instance_temperature=0.1"],
        "instance_temperature=0.5": [*_IMPROVED, "--instance_temperature=0.5"],
        "crop_min_area=0.2": [*_IMPROVED, "--crop_min_area=0.2"],
        "color_jitter=0.5": [*_IMPROVED, "--color_jitter=0.5"],
        "fc_norm=false": [*_IMPROVED, "--fc_norm=false"],
        "sobel=true": [*_IMPROVED, "--sobel", "--color_jitter=0", "--grayscale=0"],
    },
    # What might count when more crops are seen.
    "longer": {
        "improved": _IMPROVED,
        "instance_weight=0.5": [*_IMPROVED, "--instance_weight=0.5"],
        "instance_weight=0.99": [*_IMPROVED, "--instance_weight=0.99"],
        "weight_decay=1e-4": [*_IMPROVED, "--weight_decay=1e-4"],
        "weight_decay=5e-4": [*_IMPROVED, "--weight_decay=5e-4"],
        "learning_rate=0.15": [*_IMPROVED, "--learning_rate=0.15"],
    },
    # How like a view must be to its own image, against others.
    "temperature": {
        "instance_temperature=0.2": _IMPROVED,
        "instance_temperature=0.1": [*_IMPROVED, "--instance_temperature=0.1"],
        "instance_temperature=0.05": [*_IMPROVED, "--instance_temperature=0.05"],
    },
    # Each part of `improved` taken back that "instances" leaves alone.
    "improved": {
        "improved": _IMPROVED,
        "sobel=true": [*_IMPROVED, "--sobel", "--color_jitter=0", "--grayscale=0"],
        "color_jitter=0": [*_IMPROVED, "--color_jitter=0", "--grayscale=0"],
        "fc_init=published": [*_IMPROVED, "--fc_init=published"],
        "fc_norm=false": [*_IMPROVED, "--fc_norm=false"],
        "dropout=0.5": [*_IMPROVED, "--dropout=0.5"],
        "head=linear": [*_IMPROVED, "--head=linear"],
        "head_start=redrawn": [*_IMPROVED, "--head_start=redrawn"],
        "whiten=true": [*_IMPROVED, "--whiten"],
        "kmeans_spherical=false": [*_IMPROVED, "--kmeans_spherical=false"],
    },
    # What was left out of it.
    "left_out": {
        "improved": _IMPROVED,
        "sampler=natural": [*_IMPROVED, "--sampler=natural"],
        "learning_rate_schedule=constant": [*_IMPROVED, "--learning_rate_schedule=constant"],
        "num_clusters=500": [*_IMPROVED, "--num_clusters=500"],
        "num_clusters=1000": [*_IMPROVED, "--num_clusters=1000"],
    },
    # How clusters are made, where nothing but them is learned.
    "clusters_alone": {
        "clusters alone": _ALONE,
        "num_clusters=20": [*_ALONE, "--num_clusters=20"],
        "num_clusters=500": [*_ALONE, "--num_clusters=500"],
    },
}
