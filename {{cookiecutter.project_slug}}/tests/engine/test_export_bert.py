"""Exports of BERT."""

import pytest
from exporting import OWN, assert_exported, short_run

OPTIONS = ("--model.name=bert_tiny", "--model.positions=16", "--data.length=16", "--data.vocabulary=300")


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "format"), OWN)
def test_an_export_gives_what_the_run_predicts(cli, tmp_path, framework, format):
    run = short_run(cli, tmp_path, "text_classification", framework, *OPTIONS)
    assert_exported(cli, run, format, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "tokenizer.json").is_file()
