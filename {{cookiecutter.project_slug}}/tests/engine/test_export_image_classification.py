"""Exports of networks with convolutions."""

import pytest
from exporting import FIRST, assert_exported, short_run


@pytest.mark.slow
@pytest.mark.parametrize("model", ["convnet", "resnet_small"])
@pytest.mark.parametrize(("framework", "format"), FIRST)
def test_an_export_gives_what_the_run_predicts(cli, tmp_path, model, framework, format):
    run = short_run(cli, tmp_path, "image_classification", framework, f"--model.name={model}", "--data.batch_size=16")
    assert_exported(cli, run, format, tmp_path / "elsewhere")
