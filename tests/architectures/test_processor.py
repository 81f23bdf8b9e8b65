"""Who made the processor."""

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
