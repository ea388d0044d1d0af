"""Event files: TensorBoard reads what the writer writes."""

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import wave
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
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
    writer.histogram(5, "weights/hidden/kernel", np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5))
    writer.close()
    [(step, buckets)] = values(tmp_path, "weights/hidden/kernel")
    assert (step, buckets[:, 2].sum(), buckets[0, 0], buckets[-1, 1]) == (5, 60, -1, 1)
    assert plugin(tmp_path, "weights/hidden/kernel").plugin_name == "histograms"


@pytest.mark.parametrize("array", [np.zeros(7), np.ones(1), np.float64(2.0)], ids=["equal", "single", "scalar"])
def test_a_histogram_of_equal_values_can_be_written(writer, tmp_path, array):
    writer.histogram(5, "weights/bias", array)
    writer.close()
    [(_, buckets)] = values(tmp_path, "weights/bias")
    assert buckets[:, 2].sum() == np.size(array)


def test_hyper_parameters_come_back_with_their_values_and_their_run(writer, tmp_path):
    writer.hparams({"seed": 3, "optimizer.name": "sgd", "data.download": True, "rate": 0.5}, "task/preset/x/001")
    writer.close()
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin(tmp_path, "_hparams_/session_start_info").content)
    info = data.session_start_info
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}
    assert found == {"seed": 3, "optimizer.name": "sgd", "data.download": True, "rate": 0.5}
    assert info.group_name == "task/preset/x/001"


def test_hyper_parameters_that_come_first_are_before_all_others_in_the_alphabet(writer, tmp_path):
    writer.hparams({"a": 1, "rate": 0.5, "model": "x"}, "run", ["rate", "model"])
    writer.close()
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin(tmp_path, "_hparams_/session_start_info").content)
    assert [name.strip() for name in sorted(data.session_start_info.hparams)] == ["rate", "model", "a"]


def test_a_sound_comes_back_as_it_was(writer, tmp_path):
    samples = np.array([0, 0.5, -1, 1, 2], np.float32)  # the last is louder than can be
    writer.sound(2, "val/speech", samples, 8000)
    writer.close()
    [(step, found)] = values(tmp_path, "val/speech")
    with wave.open(io.BytesIO(found[0, 0])) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        back = np.frombuffer(file.readframes(len(samples)), "<i2") / (2**15 - 1)
    assert step == 2 and back == pytest.approx([0, 0.5, -1, 1, 1], abs=1e-4)
    assert plugin(tmp_path, "val/speech").plugin_name == "audio"


def test_precision_and_recall_are_those_of_each_threshold(writer, tmp_path):
    rng = np.random.default_rng(0)
    positive, place = rng.random(200) < 0.3, rng.integers(0, 5, 200)  # of a probability of place / 4
    writer.precision_recall(2, "val/curve", np.stack([np.bincount(place[positive == k], minlength=5) for k in (0, 1)]))
    writer.close()
    [(step, found)] = values(tmp_path, "val/curve")
    for i, column in enumerate(found.T):
        chosen = place >= i
        tp, fp = (positive & chosen).sum(), (~positive & chosen).sum()
        fn, tn = (positive & ~chosen).sum(), (~positive & ~chosen).sum()
        assert column == pytest.approx([tp, fp, tn, fn, tp / max(tp + fp, 1), tp / (tp + fn)])
    assert (step, found.shape) == (2, (6, 5))
    assert plugin(tmp_path, "val/curve").plugin_name == "pr_curves"


def test_a_chart_has_the_tags_that_it_names_and_no_other(writer, tmp_path):
    writer.charts({"loss": ["train/loss", "val/loss"]})
    writer.close()
    [(step, layout)] = values(tmp_path, "custom_scalars__config__")
    [chart] = Layout.FromString(layout.item()).category[0].chart
    tags = ("train/loss", "val/loss", "train/loss/generator", "train/lossy", "pretrain/loss")
    assert (step, chart.title) == (0, "loss")
    assert [tag for tag in tags if any(re.match(one, tag) for one in chart.multiline.tag)] == ["train/loss", "val/loss"]


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
    writer.histogram(2, "weights/bias", np.ones(3))
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


ALL = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
LOADERS = {"fast": ("--reload_interval", "1"), "slow": ("--load_fast", "false", "--reload_interval", "1")}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two runs of equal hyper-parameters, of tasks that monitor something else."""
    folder = tmp_path_factory.mktemp("runs")
    for name, monitor in (("001", "val/accuracy"), ("002", "val/auc")):
        writer = Writer(folder / name)
        writer.hparams({"accelerator.precision": "float32", "seed": 3, "optimizer.learning_rate": 0.1}, name, ["seed"])
        writer.charts({"loss": ["train/loss"], monitor: [monitor]})
        writer.text(0, "config", "text")
        for step in (1, 2, 3):
            writer.scalars(step, {"train/loss": 1.0 / step, monitor: step / 4})
        writer.image(3, "val/examples", PICTURE)
        writer.sound(3, "val/speech", np.zeros(80), 8000)
        writer.precision_recall(3, "val/curve", np.ones((2, 5), int))
        writer.histogram(3, "weights/kernel", np.ones(3))
        writer.finished(3)
        writer.close()
    return folder


@pytest.fixture(scope="module", params=LOADERS)
def board(logs, request):
    """`board(path, body)` is an answer of TensorBoard, which shows `logs`, once with each of its loaders."""
    options = ["--logdir", logs, "--host", "127.0.0.1", "--port", "0", *LOADERS[request.param]]
    command = [sys.executable, "-m", "tensorboard.main", *options]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    [url] = next(filter(None, (re.findall(r"http://127\S+", line) for line in served.stderr)))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # of this machine, whatever the environment

    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}data/{path}", data, {"Content-Type": "application/json"})
        with opener.open(request, timeout=60) as response:
            return response.read() if "individual" in path else json.load(response)

    ended = time.monotonic() + 60
    while len(ask("plugin/hparams/session_groups", asked("STATUS_SUCCESS")).get("sessionGroups", ())) < 2:
        assert time.monotonic() < ended, "TensorBoard has not read the last event of both"
        time.sleep(0.1)
    yield ask
    served.terminate()
    served.communicate()


def asked(*states):
    return {"startIndex": 0, "sliceSize": 100, "allowedStatuses": states}


def test_tensorboard_shows_every_run(board):
    assert board("runs") == ["001", "002"]


def test_tensorboard_shows_the_scalars_of_each_run(board):
    tags = board("plugin/scalars/tags")
    assert {run: sorted(found) for run, found in tags.items()} == {
        "001": ["train/loss", "val/accuracy"],
        "002": ["train/loss", "val/auc"],
    }


def test_tensorboard_shows_scalars_over_steps(board):
    points = board("plugin/scalars/scalars?run=001&tag=val%2Faccuracy")
    assert [point[1:] for point in points] == [[1, 0.25], [2, 0.5], [3, 0.75]]


def test_tensorboard_shows_images(board):
    [image] = board("plugin/images/images?run=001&tag=val%2Fexamples&sample=0")
    assert image["step"] == 3
    png = board(f"plugin/images/individualImage?{image['query']}")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), PICTURE)


def test_tensorboard_plays_sounds(board):
    [sound] = board("plugin/audio/audio?run=001&tag=val%2Fspeech&sample=0")
    assert (sound["step"], sound["contentType"]) == (3, "audio/wav")
    assert board(f"plugin/audio/individualAudio?{sound['query']}").startswith(b"RIFF")


def test_tensorboard_draws_precision_over_recall(board):
    [found] = board("plugin/pr_curves/pr_curves?run=001&tag=val%2Fcurve")["001"]
    assert (found["step"], found["thresholds"]) == (3, [0, 0.25, 0.5, 0.75, 1])
    assert found["precision"] == [0.5] * 5
    assert found["recall"] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_tensorboard_shows_histograms_and_texts(board):
    assert board("plugin/histograms/tags")["001"].keys() == {"weights/kernel"}
    assert board("plugin/text/tags") == {"001": ["config"], "002": ["config"]}


def test_tensorboard_draws_the_charts_of_all_runs_and_what_is_the_same_once(board):
    [category] = board("plugin/custom_scalars/layout")["category"]
    assert [chart["title"] for chart in category["chart"]] == ["loss", "val/accuracy", "val/auc"]


def test_a_chart_of_tensorboard_has_the_points_of_a_run(board):
    found = board("plugin/custom_scalars/scalars?run=002&tag=train%2Floss%24")
    assert found["regex_valid"]
    assert [point[1] for point in found["tag_to_events"]["train/loss"]] == [1, 2, 3]


def test_tensorboard_shows_a_row_of_hyper_parameters_for_each_run(board):
    rows = [
        (group["name"], group["hparams"], {m["name"]["tag"]: m["value"] for m in group["metricValues"]})
        for group in board("plugin/hparams/session_groups", asked(*ALL))["sessionGroups"]
    ]
    given = {" seed": 3, "accelerator.precision": "float32", "optimizer.learning_rate": 0.1}
    assert sorted(rows, key=lambda row: row[0]) == [
        ("001", given, {"train/loss": pytest.approx(1 / 3), "val/accuracy": 0.75}),
        ("002", given, {"train/loss": pytest.approx(1 / 3), "val/auc": 0.75}),
    ]


def test_the_columns_that_come_first_are_the_first_of_tensorboard(board):
    infos = board("plugin/hparams/experiment", {})["hparamInfos"]
    assert [info["name"].strip() for info in infos] == ["seed", "accelerator.precision", "optimizer.learning_rate"]


def test_a_scalar_is_as_the_plugin_makes_it():
    assert tensorboard._scalar("train/loss", 0.1) == scalar_pb("train/loss", 0.1).value[0]
