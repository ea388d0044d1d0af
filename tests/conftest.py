import pytest
from baking import bake


def pytest_collection_modifyitems(items):
    # The longest first, so that no worker is left with one of them at the end.
    items.sort(key=lambda item: item.path.name != "test_projects.py")


@pytest.fixture(scope="session")
def baked(tmp_path_factory):
    """A function that bakes a project, or returns the one already baked from the same answers. For reading only."""
    projects = {}

    def get(**answers):
        key = tuple(sorted(answers.items()))
        if key not in projects:
            projects[key] = bake(tmp_path_factory.mktemp("bake"), **answers)
        return projects[key]

    return get
