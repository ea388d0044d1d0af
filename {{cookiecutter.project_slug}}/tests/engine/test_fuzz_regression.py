"""Damaged tables of numbers: they are data, or one line."""

import numpy as np
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.registry import load_config

TABLE = "a,b,c,y\n" + "".join(f"{i},{i * 0.5},k{i % 3},{i * 2}\n" for i in range(30))
WORDS = ["--data.name=csv", "--data.path=a.csv", "--data.target=y", "--data.categorical=c", "--data.batch_size=4"]


@tries(QUICK, 300)
def test_a_damaged_table_is_read_or_refused(project, count):
    load = tasks.find("regression").load
    path = project / "a.csv"

    def check(damaged):
        path.write_bytes(damaged)
        for skip in ("false", "true"):
            config = load_config("regression", [*WORDS, f"--data.root={project}", f"--data.skip_bad={skip}"])
            data_or_one_line(lambda config=config: numbers(load(config, None)))

    check(TABLE.encode())
    each_of(mutations(TABLE.encode()), count, check)


def numbers(data):
    """All of them are finite."""
    for split in (data.train, data.val, data.test):
        for array in split[np.arange(len(split))].values():
            assert np.isfinite(array).all()
