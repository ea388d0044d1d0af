"""Damaged tables of clicks: they are data, or one line."""

import pytest
from hostile import QUICK, data_or_one_line, each_of, mutations, tries

from {{cookiecutter.package_name}}.tasks.click_prediction import cells, data
from {{cookiecutter.package_name}}.tasks.click_prediction.data import CRITEO

COLUMNS = {**data.GENERATED, "integers": ["age"], "categories": ["site"]}
PLAIN = "click,age,site\n" + "".join(f"{i % 2},{i},{'abc'[i % 3]}\n" for i in range(60))
TABLES = {
    "criteo": ("".join("\t".join([str(i % 2), *["7"] * 13, *["68fd1e64"] * 26]) + "\n" for i in range(20)), CRITEO),
    "plain": (PLAIN, COLUMNS),
    "quoted": (PLAIN.replace("b", '"b,"'), COLUMNS),
}


@pytest.mark.parametrize("name", TABLES)
@tries(QUICK, 300)
def test_a_damaged_table_is_read_or_refused(tmp_path, monkeypatch, name, count):
    text, columns = TABLES[name]
    path = tmp_path / "table"
    monkeypatch.setattr(cells, "BLOCK", 100)

    def check(damaged):
        path.write_bytes(damaged)
        for skip in (False, True):
            bad = data.Bad(skip)
            data_or_one_line(lambda bad=bad: list(data.read_fields(path, columns, labelled=True, bad=bad)))

    check(text.encode())
    each_of(mutations(text.encode()), count, check)
