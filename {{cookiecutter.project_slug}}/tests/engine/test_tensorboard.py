"""Event files: TensorBoard reads what the writer writes."""

import io
import json
import os
import re
import subprocess
import sys
import urllib.request
import warnings
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from {{cookiecutter.package_name}}.engine import tensorboard
from {{cookiecutter.package_name}}.engine.registry import frameworks
from {{cookiecutter.package_name}}.engine.tensorboard import Writer, cut

PICTURE = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


def read(folder):
    """What TensorBoard has of a run's folder."""
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0}).Reload()


def values(folder, tag):
    """(step, value) of every entry of a tag."""
    return [(event.step, make_ndarray(event.tensor_proto)) for event in read(folder).Tensors(tag)]


def plugin(folder, tag):
    return read(folder).SummaryMetadata(tag).plugin_data


def steps(folder, tag="train/loss"):
    return [step for step, _ in values(folder, tag)]


def write_steps(folder, numbers):
    """A file of its own with a scalar at each of these steps."""
    before = set(folder.glob("events*"))
    writer = Writer(folder)
    for step in numbers:
        writer.scalars(step, {"train/loss": 1.0 / step})
    writer.close()
    [path] = set(folder.glob("events*")) - before
    return path


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path)
    yield writer
    writer.close()


def test_scalars_come_back_with_step_and_value(writer, tmp_path):
    writer.scalars(3, {"train/loss": 0.5, "val/accuracy": 0.25})
    writer.scalars(4, {"train/loss": 0.125})
    writer.close()
    assert values(tmp_path, "train/loss") == [(3, 0.5), (4, 0.125)]
    assert values(tmp_path, "val/accuracy") == [(3, 0.25)]


def test_scalars_are_scalars_to_tensorboard(writer, tmp_path):
    writer.scalars(3, {"train/loss": 0.5})
    writer.close()
    assert plugin(tmp_path, "train/loss").plugin_name == "scalars"


def test_scalars_may_be_whole_numbers(writer, tmp_path):
    writer.scalars(3, {"train/memory_bytes": 2**40})
    writer.close()
    assert values(tmp_path, "train/memory_bytes") == [(3, 2**40)]


def test_scalars_may_be_not_finite(writer, tmp_path):
    writer.scalars(3, {"train/loss": float("nan")})
    writer.close()
    [(_, value)] = values(tmp_path, "train/loss")
    assert np.isnan(value)


def test_text_comes_back_under_its_own_tag(writer, tmp_path):
    writer.text(0, "config", "| key | value |\n|---|---|\n| name | Zoë |")
    writer.close()
    [(step, value)] = values(tmp_path, "config")
    assert (step, value.item().decode()) == (0, "| key | value |\n|---|---|\n| name | Zoë |")
    assert plugin(tmp_path, "config").plugin_name == "text"


def test_an_image_comes_back_with_its_size_and_its_pixels(writer, tmp_path):
    writer.image(2, "val/examples", PICTURE)
    writer.close()
    [(step, (width, height, png))] = values(tmp_path, "val/examples")
    assert (step, width, height) == (2, b"4", b"6")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), PICTURE)
    assert plugin(tmp_path, "val/examples").plugin_name == "images"


def test_a_histogram_counts_every_value(writer, tmp_path):
    writer.histogram(5, "params/hidden/kernel", np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5))
    writer.close()
    [(step, buckets)] = values(tmp_path, "params/hidden/kernel")
    assert (step, buckets[:, 2].sum(), buckets[0, 0], buckets[-1, 1]) == (5, 60, -1, 1)
    assert plugin(tmp_path, "params/hidden/kernel").plugin_name == "histograms"


@pytest.mark.parametrize("array", [np.zeros(7), np.ones(1), np.float64(2.0)], ids=["equal", "single", "scalar"])
def test_a_histogram_of_equal_values_can_be_written(writer, tmp_path, array):
    writer.histogram(5, "params/bias", array)
    writer.close()
    [(_, buckets)] = values(tmp_path, "params/bias")
    assert buckets[:, 2].sum() == np.size(array)


def test_hyper_parameters_come_back_with_their_values_and_their_run(writer, tmp_path):
    writer.hparams({"seed": 3, "optimizer.name": "sgd", "data.download": True, "rate": 0.5}, "task/preset/x/001")
    writer.close()
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin(tmp_path, "_hparams_/session_start_info").content)
    info = data.session_start_info
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}
    assert found == {"seed": 3, "optimizer.name": "sgd", "data.download": True, "rate": 0.5}
    assert info.group_name == "task/preset/x/001"


def test_no_run_says_which_columns_all_runs_have(writer, tmp_path):
    writer.hparams({"seed": 3}, "task/preset/x/001")
    writer.close()
    assert "_hparams_/experiment" not in read(tmp_path).Tags()["tensors"]


def test_vectors_are_written_for_the_projector(writer, tmp_path):
    writer.embedding("items/embedding", np.eye(3), ["title", "kind"], [["A\tB", "x"], ["C", "y"], ["é", "z"]])
    writer.embedding("users/embedding", np.eye(2), ["id"], [["1"], ["2"]])
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert re.findall(r'tensor_name: "(.*)"', config) == ["items/embedding", "users/embedding"]
    vectors, labels = (re.findall(rf'{kind}_path: "(.*)"', config) for kind in ("tensor", "metadata"))
    assert np.array_equal(np.loadtxt(tmp_path / vectors[0], delimiter="\t"), np.eye(3))
    first, second = ((tmp_path / path).read_text(encoding="utf-8") for path in labels)
    assert first == "title\tkind\nA B\tx\nC\ty\né\tz\n"
    assert second == "1\n2\n"  # a single column has no header


def test_the_end_of_a_run_comes_back(writer, tmp_path):
    writer.finished(9)
    writer.close()
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin(tmp_path, "_hparams_/session_end_info").content)
    assert data.HasField("session_end_info")


def test_events_of_two_writers_join(tmp_path):
    write_steps(tmp_path, [1, 2])
    write_steps(tmp_path, [3])
    assert sorted(steps(tmp_path)) == [1, 2, 3]


def test_writing_events_imports_no_framework():
    source = str(Path(tensorboard.__file__).parents[2])
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", f"import sys, {tensorboard.__name__}; print(*sys.modules)"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    heavy = {package for framework in frameworks().values() for package in framework.PACKAGES} - {"numpy"}
    packages = packages_distributions()
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {name for name in loaded if heavy & set(packages.get(name, ()))} == set()


# Cutting back.


def test_cut_drops_what_is_later_and_nothing_else(tmp_path):
    write_steps(tmp_path, [1, 2, 3, 4, 5])
    cut(tmp_path, 3)
    assert steps(tmp_path) == [1, 2, 3]


def test_cut_reaches_every_file(tmp_path):
    write_steps(tmp_path, [1, 4])
    write_steps(tmp_path, [2, 3])
    cut(tmp_path, 2)
    assert sorted(steps(tmp_path)) == [1, 2]


def test_cut_keeps_every_kind_of_event(writer, tmp_path):
    writer.hparams({"seed": 3}, "run")
    writer.text(0, "config", "text")
    writer.image(2, "val/examples", PICTURE)
    writer.histogram(2, "params/bias", np.ones(3))
    writer.close()
    before = read(tmp_path).Tags()["tensors"]
    cut(tmp_path, 2)
    assert sorted(read(tmp_path).Tags()["tensors"]) == sorted(before)


def test_cut_to_the_last_step_changes_no_byte(tmp_path):
    path = write_steps(tmp_path, [1, 2, 3])
    before = path.read_bytes()
    cut(tmp_path, 3)
    assert path.read_bytes() == before


def test_cut_leaves_no_other_file(tmp_path):
    path = write_steps(tmp_path, [1, 2, 3])
    cut(tmp_path, 2)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_cut_survives_a_last_record_that_was_cut_short(tmp_path, lost):
    path = write_steps(tmp_path, [1, 2, 3])
    path.write_bytes(path.read_bytes()[:-lost])
    cut(tmp_path, 3)
    assert steps(tmp_path) == [1, 2]


def test_events_after_a_cut_are_read(tmp_path):
    path = write_steps(tmp_path, [1, 2, 3])
    path.write_bytes(path.read_bytes()[:-1])
    cut(tmp_path, 3)
    write_steps(tmp_path, [3, 4])
    assert sorted(steps(tmp_path)) == [1, 2, 3, 4]


def test_cut_survives_an_empty_file(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").touch()
    cut(tmp_path, 3)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_cut_of_a_folder_without_events_does_nothing(tmp_path):
    cut(tmp_path, 3)
    assert list(tmp_path.iterdir()) == []


# The program itself.


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """`board(path, body)` is an answer of TensorBoard, which shows two runs of equal hyper-parameters."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("001", "002"):
        writer = Writer(folder / name)
        writer.hparams({"seed": 3}, name)
        writer.text(0, "config", "text")
        for step in (1, 2, 3):
            writer.scalars(step, {"train/loss": 1.0 / step, "val/accuracy": step / 4})
        writer.image(3, "val/examples", PICTURE)
        writer.histogram(3, "params/bias", np.ones(3))
        writer.finished(3)
        writer.close()
    with warnings.catch_warnings():  # loading it warns of its own copy of html5lib
        warnings.simplefilter("ignore", DeprecationWarning)
        served = program.TensorBoard()
    address = ["--host", "127.0.0.1", "--port", "0"]
    loading = ["--load_fast", "false", "--reload_interval", "0", "--reload_task", "blocking"]
    served.configure(argv=["tensorboard", "--logdir", str(folder), *address, *loading])
    url = served.launch()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # of this machine, whatever the environment

    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}data/{path}", data, {"Content-Type": "application/json"})
        with opener.open(request, timeout=60) as response:
            return json.load(response)

    return ask


def test_tensorboard_shows_every_run(board):
    assert board("runs") == ["001", "002"]


def test_tensorboard_shows_the_same_scalars_for_each_run(board):
    tags = board("plugin/scalars/tags")
    assert {run: sorted(found) for run, found in tags.items()} == dict.fromkeys(
        ("001", "002"), ["train/loss", "val/accuracy"]
    )


def test_tensorboard_shows_scalars_over_steps(board):
    points = board("plugin/scalars/scalars?run=001&tag=val%2Faccuracy")
    assert [point[1:] for point in points] == [[1, 0.25], [2, 0.5], [3, 0.75]]


def test_tensorboard_shows_images(board):
    [image] = board("plugin/images/images?run=001&tag=val%2Fexamples&sample=0")
    assert image["step"] == 3


def test_tensorboard_shows_a_row_of_hyper_parameters_for_each_run(board):
    states = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    asked = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": states}
    groups = board("plugin/hparams/session_groups", asked)["sessionGroups"]
    rows = [
        (group["name"], group["hparams"]["seed"], {m["name"]["tag"]: m["value"] for m in group["metricValues"]})
        for group in groups
    ]
    metrics = {"train/loss": pytest.approx(1 / 3), "val/accuracy": 0.75}
    assert sorted(rows, key=lambda row: row[0]) == [("001", 3, metrics), ("002", 3, metrics)]


def test_tensorboard_shows_a_finished_run_as_done(board):
    asked = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": ["STATUS_SUCCESS"]}
    assert len(board("plugin/hparams/session_groups", asked)["sessionGroups"]) == 2
