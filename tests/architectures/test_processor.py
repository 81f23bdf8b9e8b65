"""Who made the processor, and what fits into its cache."""

from pathlib import Path

import pytest

from refute.architectures import processor


@pytest.mark.parametrize(
    ("told", "maker"),
    [("vendor_id\t: AuthenticAMD\n", "AMD"), ("vendor_id\t: GenuineIntel\n", "Intel"), ("CPU implementer: 0x41\n", "")],
)
def test_its_maker_is_read_from_the_system(
    told: str, maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(processor, "INFORMATION", tmp_path / "cpuinfo")
    assert processor.maker.__wrapped__() == maker


def test_elsewhere_python_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "INFORMATION", tmp_path / "none")
    monkeypatch.setattr(processor.platform, "processor", lambda: "Intel64 Family 6 Model 207, GenuineIntel")
    assert processor.maker.__wrapped__() == "Intel"


@pytest.mark.parametrize(
    ("features", "expected"),
    [({"avx2": True, "avx512f": True}, 64), ({"avx2": True, "avx512f": False}, 32), ({"sse2": True}, 16), ({}, 16)],
)
def test_its_widest_vectors(features: dict[str, bool], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.binding, "get_host_cpu_features", lambda: features)
    assert processor.vector_bytes.__wrapped__() == expected


def test_vectors_of_a_processor_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise RuntimeError("not implemented here")

    monkeypatch.setattr(processor.binding, "get_host_cpu_features", unknown)
    assert processor.vector_bytes.__wrapped__() == 16


MiB = 2**20


@pytest.mark.parametrize(
    ("size", "cores", "maker", "expected"),
    [
        ("307200K", "0-1", "Intel", 32 * MiB),
        ("32768K", "0-1,8", "Intel", 32 * MiB // 3),
        ("8192K", "0-7", "Intel", 6 * MiB),
        ("who knows", "0", "Intel", 6 * MiB),
        ("307200K", "0-1", "AMD", 6 * MiB),
        ("307200K", "0-1", "", 6 * MiB),
    ],
)
def test_groups_are_as_large_as_a_share_of_the_last_cache(
    size: str, cores: str, maker: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "size").write_text(f"{size}\n")
    (tmp_path / "shared_cpu_list").write_text(f"{cores}\n")
    monkeypatch.setattr(processor, "LAST_CACHE", tmp_path)
    monkeypatch.setattr(processor, "maker", lambda: maker)
    assert processor.group_bytes() == expected


@pytest.mark.parametrize(("maker", "expected"), [("Intel", 32 * MiB), ("AMD", 64 * MiB), ("", 64 * MiB)])
def test_groups_of_modules_are_larger(maker: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "maker", lambda: maker)
    assert processor.module_group_bytes() == expected


def test_groups_are_small_where_the_cache_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "LAST_CACHE", tmp_path / "none")
    monkeypatch.setattr(processor, "maker", lambda: "Intel")
    assert processor.group_bytes() == 6 * MiB
