"""Exports of models of tables with numbers, gaps and categories."""

import pytest
from exporting import FIRST, assert_exported, short_run


@pytest.mark.parametrize(("framework", "format"), FIRST)
def test_columns_of_each_kind_are_inputs_and_the_card_tells_how_they_are_made(cli, project, framework, format):
    rows = [f"{i % 7 or ''},{i * 37 % 11},{'abc'[i % 3]},{i % 5}" for i in range(200)]
    (project / "table.csv").write_text("\n".join(["gaps,number,letter,price", *rows]))
    options = ("--data.name=csv", "--data.path=table.csv", "--data.target=price", "--data.categorical=letter")
    run = short_run(cli, project, "regression", framework, *options, "--data.root=.")
    assert_exported(cli, run, format, project / "elsewhere")
    card = (project / "elsewhere" / "README.md").read_text()
    assert "2: 1 where gaps is missing, else 0" in card and "0: letter of 3" in card
