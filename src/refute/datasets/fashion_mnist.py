"""Fashion-MNIST: 28x28 grey pictures of clothes, made to replace MNIST."""

from refute.datasets.channels import Address, DebianPackage, RemoteFile
from refute.datasets.dataset import Checksums, DataSet
from refute.datasets.formats import IDX

SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

DATASET = DataSet(
    name="fashion-mnist",
    title="Fashion-MNIST articles of clothing",
    source="H. Xiao, K. Rasul & R. Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine "
    "learning algorithms, arXiv:1708.07747",
    url="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    shape=(28, 28),
    class_names=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    train_size=60_000,
    test_size=10_000,
    channels=(
        Address(
            "official site",
            files=(
                RemoteFile(
                    f"{SITE}/train-images-idx3-ubyte.gz",
                    sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                RemoteFile(
                    f"{SITE}/train-labels-idx1-ubyte.gz",
                    sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                RemoteFile(
                    f"{SITE}/t10k-images-idx3-ubyte.gz",
                    sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                RemoteFile(
                    f"{SITE}/t10k-labels-idx1-ubyte.gz",
                    sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            format=IDX,
        ),
        DebianPackage(
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            format=IDX,
        ),
    ),
    local=IDX,
    checksums=Checksums(
        train_images="2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        train_labels="e3245b63f7c40d1c8b652835f19744d970c1613b40ddac6bcfc87b9c46e16a0b",
        test_images="c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        test_labels="d51d859896c55775b9e9e219b77ff03bcec1b6ac322f313544dc3f9e7bc94fae",
    ),
)
