"""moodline doctor: what is there, and what is not."""

from importlib import metadata

import pytest

from moodline.cli import doctor
from moodline.cli.main import main


def test_every_extra_of_users_is_described_by_a_package_of_its_own() -> None:
    extras = set(metadata.metadata("moodline").get_all("Provides-Extra") or ()) - {"dev", "docs"}
    assert extras == set(doctor.EXTRAS)
    required = metadata.requires("moodline") or []
    for extra, (package, _) in doctor.EXTRAS.items():
        assert any(one.startswith(package) and f"extra == '{extra}'" in one.replace('"', "'") for one in required)


def test_what_is_missing_is_named_with_its_cost_and_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_version = doctor.find_version
    gone = {"av", "opensmile"}
    monkeypatch.setattr(doctor, "find_version", lambda package: None if package in gone else find_version(package))
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    for extra, (package, loss) in doctor.EXTRAS.items():
        (line,) = [line for line in lines if line.startswith(f"extra {extra}:")]
        if package in gone:
            assert loss in line
            assert f"'moodline[{extra}]'" in line
    assert any(metadata.version("torch") in line for line in lines)
    assert any(line.startswith("recogniser of words: ") for line in lines)
    assert any(line.startswith("device: ") for line in lines)
