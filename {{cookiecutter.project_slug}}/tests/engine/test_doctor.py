"""The doctor: versions, devices, and what is known not to work together."""

from types import SimpleNamespace

import pytest
from helpers import SMALL, TASK

from {{cookiecutter.package_name}}.engine import processes
from {{cookiecutter.package_name}}.engine.folder import versions
from {{cookiecutter.package_name}}.engine.registry import bad_versions, frameworks

PAIR = SimpleNamespace(BAD_VERSIONS=(("one", "<=1.8", "other", ">=11", "fails at import"),))
ALONE = SimpleNamespace(BAD_VERSIONS=(("one", "<2", "", "", "is unsafe"),))


@pytest.fixture(scope="module")
def report(cli):
    return cli("doctor", "--accelerator", "cpu")


def test_the_doctor_tells_every_version(report, framework):
    found = versions(frameworks()[framework].PACKAGES)
    [line] = [line for line in report.out.splitlines() if line.startswith(f"{framework}: ") and " numpy " in line]
    assert [package for package, version in found.items() if f"{package} {version}" not in line] == []


def test_the_doctor_tells_the_devices(report, framework):
    assert f"{framework}: devices: " in report.out


def test_the_doctor_tells_what_would_be_used(report, framework):
    assert f"{framework}: --accelerator cpu picks " in report.out


def test_the_doctor_finds_nothing_wrong_with_an_environment_that_trains(report):
    assert (report.code, report.out.splitlines()[-1]) == (0, "all is well")


@pytest.mark.parametrize("found", [{"one": "1.8", "other": "11.0"}, {"one": "1.0", "other": "12.1"}])
def test_a_bad_pair_is_named_with_both_versions_and_what_happens(found):
    assert bad_versions(PAIR, found) == [f"one {found['one']} with other {found['other']}: fails at import"]


@pytest.mark.parametrize("found", [{"one": "1.9", "other": "11.0"}, {"one": "1.8", "other": "10.2"}, {"one": "1.8"}])
def test_a_pair_of_which_one_is_another_version_is_not_bad(found):
    assert bad_versions(PAIR, found) == []


def test_a_package_can_be_bad_alone():
    assert bad_versions(ALONE, {"one": "1.9"}) == ["one 1.9: is unsafe"]


def test_a_release_candidate_counts_as_its_version():
    assert bad_versions(ALONE, {"one": "1.9rc1"}) == ["one 1.9rc1: is unsafe"]


# A step without the hardware.


@pytest.fixture(scope="module")
def rehearse(cli, framework, tmp_path_factory):
    def run(*options):
        return cli("doctor", TASK, "--framework", framework, *SMALL, "--accelerator=gpu-ddp", *options)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rehearsal"))
        yield run


def held(report, what):
    [line] = [line for line in report.out.splitlines() if f":   {what} " in line]
    return line.rpartition("  ")[2]


def test_the_doctor_rehearses_a_step_without_the_devices(rehearse, framework):
    report = rehearse("--accelerator.devices=4")
    assert report.code == 0, report
    assert f"{framework}: one step of {TASK} as 4 x gpu would take it, each of which would hold" in report.out
    assert held(report, "parameters") != held(report, "optimizer's state")
    assert "--memory GIB says what it has" in report.out


def test_a_project_without_several_devices_says_that_it_rehearses_nothing(rehearse, framework, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "__file__", str(tmp_path / "processes.py"))
    report = rehearse("--accelerator.devices=1")
    assert report.code == 2, report
    assert f"wrong: {framework}: doctor {TASK}: this project was made without the feature 'scale'" in report.out


def test_what_does_not_fit_is_wrong_with_the_way_out(rehearse, framework, monkeypatch):
    monkeypatch.setattr("{{cookiecutter.package_name}}.engine.scale.doctor.apart", lambda *_: {"parameters": 3 * 2**20})
    report = rehearse("--accelerator.devices=2", "--memory=0.0009765625")
    assert report.code == 2
    assert f"wrong: {framework}: a gpu would hold 3 MiB, but has 1 MiB: raise" in report.out


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ((), "accelerator.devices = 0 means all, but no gpu is here: give --accelerator.devices"),
        (
            ("--accelerator.devices=3", "--data.batch_size=16"),
            "data.batch_size = 16 is not divisible by trainer.accumulate = 1 x 3 parts",
        ),
        (("--accelerator.devices=2", "--memory=lots"), "--memory lots: a number is wanted"),
    ],
)
def test_what_cannot_be_rehearsed_is_told(rehearse, options, part):
    report = rehearse(*options)
    assert report.code == 2 and part in report.out + report.err and "Traceback" not in report.err
