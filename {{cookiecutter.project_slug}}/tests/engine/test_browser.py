"""TensorBoard's pages in a browser, with a run of every framework. What they look like is kept in `build/screenshots/`.

Left out where there is no Chromium, or no Python package playwright, which needs no `playwright install`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, steps
from helpers import MONITOR, SMALL, TASK

import {{cookiecutter.package_name}}
from {{cookiecutter.package_name}}.engine.tensorboard import Writer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="there is no playwright")

RUNS = [f"{framework}/one" for framework in FRAMEWORKS]
NO_SHOW = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def url(cli, tmp_path_factory):
    """Of a board with a run of each framework, which have pictures, sounds and curves even where the task has none."""
    run_dir = tmp_path_factory.mktemp("runs")
    for framework in FRAMEWORKS:
        options = (f"--framework={framework}", f"--run_dir={run_dir}", "--name=one", "--seed=3")
        every = ("--trainer.log_every=1", "--trainer.val_every=2")
        assert cli("train", TASK, *SMALL, *steps(6), *every, *options).code == 0
        writer = Writer(run_dir / TASK / "default" / framework / "one")
        writer.image(6, "val/picture", np.zeros((300, 500, 3), np.uint8))
        writer.sound(6, "val/sound", np.sin(np.arange(8000) / 4), 8000)
        writer.precision_recall(6, "val/curve", np.stack([np.arange(11)[::-1], np.arange(11)]))
        writer.close()
    source = Path({{cookiecutter.package_name}}.__file__).parents[1]
    path = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", {{cookiecutter.package_name}}.__name__, "board", f"--run_dir={run_dir}", "--port=0"]
    served = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    yield re.match(r"http://\S+/", served.stdout.readline())[0]
    served.send_signal(signal.SIGINT)
    served.communicate()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=NO_SHOW)
        yield opened
        opened.close()


@pytest.fixture
def look(url, browser, request):
    """`look(name, ready, query)` is the page of a dashboard, once what `ready` selects is there."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(60_000)

    def look(name, ready, query=""):
        for _ in range(3):  # a page that is opened before TensorBoard has read all stays without
            page.goto("about:blank")
            page.goto(f"{url}{query}#{name}")
            try:
                page.wait_for_selector(ready, timeout=20_000)
                break
            except sync_api.TimeoutError:
                continue
        return page

    yield look
    folder = request.config.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(1000)  # of animations
    page.screenshot(path=folder / f"{request.node.name.removeprefix('test_')}.png")
    page.close()


def comes(page, selector, attribute, wanted):
    """Whether, within a minute, the attributes of what is selected are as wanted."""
    for _ in range(600):
        if wanted(page.locator(selector).evaluate_all(f"all => all.map(each => each.{attribute})")):
            return True
        page.wait_for_timeout(100)
    return False


def test_time_series_begin_with_metrics_and_end_with_weights(look):
    page = look("timeseries", "scalar-card")
    assert page.locator(".group-title").all_inner_texts() == ["Pinned", "test", "train", "val", "weights"]


def test_time_series_have_every_run_under_a_name_that_fits(look):
    page = look("timeseries", "scalar-card")
    names = page.locator("runs-data-table .name-row, runs-data-table tb-data-table-content-cell")
    shown = [text.strip() for text in names.all_inner_texts()]
    assert [name for name in shown if name in RUNS] == RUNS


def test_a_chart_of_time_series_has_a_line_of_every_run(look):
    page = look("timeseries", "scalar-card tb-data-table-content-row", "?tagFilter=train/loss%24")
    rows = page.locator("scalar-card tb-data-table-content-row")
    sync_api.expect(rows).to_contain_text(RUNS, timeout=60_000)  # and no more


def test_custom_scalars_have_the_charts_of_the_project_with_a_line_of_every_run(look):
    titles = ["loss", *[MONITOR] * (MONITOR != "val/loss"), "learning rate", "gradient norm"]
    titles += ["examples per second", "memory (bytes)"]
    page = look("custom_scalars", f"text=Matches ({2 * len(RUNS)})")  # of the loss: training and validation
    assert [title for title in titles if page.get_by_text(title, exact=True).count() != 1] == []
    sync_api.expect(page.get_by_text(f"Matches ({len(RUNS)})")).to_have_count(len(titles) - 1, timeout=60_000)


def test_pictures_are_loaded(look):
    page = look("images", "tf-image-loader img")
    assert comes(page, "tf-image-loader img", "naturalWidth", lambda widths: widths.count(500) == len(RUNS))


def test_sounds_can_be_played(look):
    page = look("audio", "tf-audio-loader audio")
    assert comes(page, "audio", "duration", lambda seconds: seconds == [1] * len(RUNS))


def test_precision_and_recall_are_a_curve_of_every_run(look):
    page = look("pr_curves", "text=val/curve")
    page.wait_for_selector("text=is at")
    for run in RUNS:
        assert page.get_by_text(re.compile(f"{run} is at\\s+step 6")).count() >= 1


def test_texts_are_tables(look):
    page = look("text", "tf-text-loader table")
    config = page.locator("tf-text-loader table", has_text="optimizer.learning_rate")
    sync_api.expect(config).to_have_count(len(RUNS), timeout=60_000)


def test_histograms_are_of_weights_alone(look):
    page = look("histograms", "tf-histogram-dashboard svg")
    titles = page.locator("tf-histogram-dashboard tf-category-paginated-view .heading").all_inner_texts()
    assert {title.strip().split()[0] for title in titles} == {"weights"}


def test_hyper_parameters_have_a_row_of_every_run_with_what_is_varied_and_the_metrics(look):
    page = look("hparams", "vaadin-grid-cell-content:has-text('test/loss')")
    cells = [text.strip() for text in page.locator("vaadin-grid-cell-content").all_inner_texts()]
    columns = ["optimizer.learning_rate", "data.batch_size", "model.name", "framework", "optimizer.name"]
    assert sorted(cells[2:7]) == sorted(columns)  # those in which runs differ are first
    assert cells[7].startswith("test/")
    assert sorted(cell for cell in cells if cell.startswith(tuple(RUNS))) == [f"{run} {TASK}/default" for run in RUNS]
