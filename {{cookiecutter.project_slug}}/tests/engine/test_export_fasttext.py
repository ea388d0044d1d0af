"""Exports of fastText."""

import numpy as np
import pytest
from exporting import OWN, predicted, run_card, short_run


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "format"), OWN)
def test_a_text_without_ngrams_is_none_of_the_numbers_that_are_not(cli, tmp_path, framework, format):
    run, folder = short_run(cli, tmp_path, "text_classification", framework), tmp_path / "elsewhere"
    assert cli("export", run, "--format", format, "--output", folder).code == 0
    batch = {name: np.where(np.arange(len(value))[:, None] % 2, value, 0) for name, value in predicted(run)[0].items()}
    _, expected = predicted(run, batch)
    np.testing.assert_allclose(run_card(folder, batch)[5]["logits"], expected["logits"], rtol=0, atol=1e-4)
