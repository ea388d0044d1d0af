"""The doctor: versions, devices, and what is known not to work together."""

from types import SimpleNamespace

import pytest

from {{cookiecutter.package_name}}.run import versions
from {{cookiecutter.package_name}}.trainers import bad_versions, frameworks

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
