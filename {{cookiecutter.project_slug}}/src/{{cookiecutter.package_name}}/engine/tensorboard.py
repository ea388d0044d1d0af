"""TensorBoard event files, written with tensorboard's own protos: no other framework is needed."""

import io
import itertools
import os
import re
import socket
import time
import wave
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.audio import metadata as audio_metadata
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from .data.files import write_text

SCALAR = scalar_metadata.create_summary_metadata("", "")


class Writer:
    """Writes events of a run into its folder, at once: a killed process loses none, and errors come where they belong.

    Raises OSError where the disk does not take them.
    """

    _numbers = itertools.count()

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # The order of names is that of time.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(self._numbers)}"
        self._path = folder / name
        self._file: BinaryIO | None = None
        self._write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._embeddings: dict[str, EmbeddingInfo] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._add(summary_pb2.Summary(value=[_scalar(tag, value) for tag, value in values.items()]), step)

    def text(self, step: int, tag: str, markdown: str) -> None:
        self._add(text_pb(tag, markdown), step)

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """pixels: uint8 [height, width, 3]."""
        file = io.BytesIO()
        # Twice as fast as by default, and no larger.
        Image.fromarray(pixels).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
        height, width = pixels.shape[:2]
        strings = [str(width).encode(), str(height).encode(), file.getvalue()]
        tensor = make_tensor_proto(strings, dtype=np.object_)
        self._add(_tensor_pb(tag, tensor, image_metadata.create_summary_metadata(None, None)), step)

    def sound(self, step: int, tag: str, samples: np.ndarray, rate: int) -> None:
        """samples: float [n], from -1 to 1, `rate` of them a second."""
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setparams((1, 2, rate, 0, "NONE", ""))
            wav.writeframes(np.round(samples.clip(-1, 1) * (2**15 - 1)).astype("<i2").tobytes())
        tensor = make_tensor_proto([[file.getvalue(), b""]], dtype=np.object_)  # with a label, of which there is none
        wav_metadata = audio_metadata.create_summary_metadata(None, None, audio_metadata.Encoding.Value("WAV"))
        self._add(_tensor_pb(tag, tensor, wav_metadata), step)

    def precision_recall(self, step: int, tag: str, counts: np.ndarray) -> None:
        """counts: [2, n], others and positives; the i-th have a probability from i / (n - 1) on, below the next."""
        fp, tp = counts[:, ::-1].cumsum(1)[:, ::-1].astype(np.float64)  # by a threshold: all from it on
        rates = [tp / np.maximum(tp + fp, 1), tp / np.maximum(tp[0], 1)]
        rows = np.stack([tp, fp, fp[0] - fp, tp[0] - tp, *rates]).astype(np.float32)
        metadata = pr_curve_metadata.create_summary_metadata(tag, "", rows.shape[1])
        self._add(_tensor_pb(tag, make_tensor_proto(rows), metadata), step)

    def histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        self._add(histogram_pb(tag, values.ravel()), step)

    def embedding(self, name: str, vectors: np.ndarray, header: Sequence[str], labels: Sequence[Sequence[str]]) -> None:
        """Vectors, float [n, d], for the projector, as they are now: it knows no steps. labels: n rows of a table."""
        stem = name.replace("/", "_")
        vectors_name, labels_name = f"projector/{stem}.tsv", f"projector/{stem}_labels.tsv"
        (self.folder / "projector").mkdir(exist_ok=True)
        write_text(self.folder / vectors_name, "".join("\t".join(f"{x:.5g}" for x in row) + "\n" for row in vectors))
        rows = [header, *labels] if len(header) > 1 else labels  # a single column has none
        cells = ("\t".join(" ".join(cell.split()) for cell in row) for row in rows)
        write_text(self.folder / labels_name, "".join(f"{row}\n" for row in cells))
        self._embeddings[name] = EmbeddingInfo(
            tensor_name=name, tensor_path=vectors_name, metadata_path=labels_name, tensor_shape=vectors.shape
        )
        config = ProjectorConfig(embeddings=self._embeddings.values())
        write_text(self.folder / "projector_config.pbtxt", str(config))

    def hparams(self, values: Mapping[str, Any], run: str, first: Sequence[str] = ()) -> None:
        """The run's row in the HParams table, whose metrics are the run's scalars; without `run`, equal rows merge.

        first: the names of the columns that come before the others.
        """
        # Of its columns TensorBoard shows five: those in which runs differ, then the others, both in alphabetical
        # order. Spaces are before all letters there, and in a page nobody sees them.
        spaces = {name: " " * (len(first) - i) for i, name in enumerate(first)}
        self._add(hparams_pb({spaces.get(name, "") + name: value for name, value in values.items()}, trial_id=run), 0)

    def charts(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Charts of several tags each, by title. TensorBoard shows those of all runs, and what is the same once."""
        charts = []
        for title, found in tags.items():
            lines = layout_pb2.MultilineChartContent(tag=[f"{re.escape(tag)}$" for tag in found])
            charts.append(layout_pb2.Chart(title=title, multiline=lines))
        layout = layout_pb2.Layout(category=[layout_pb2.Category(title="all runs", chart=charts)])
        tensor = make_tensor_proto(layout.SerializeToString())
        self._add(_tensor_pb(layout_metadata.CONFIG_SUMMARY_TAG, tensor, layout_metadata.create_summary_metadata()), 0)

    def finished(self, step: int) -> None:
        """Marks the run as done in the HParams table."""
        info = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        metadata = hparams_metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
        self._add(_tensor_pb(hparams_metadata.SESSION_END_INFO_TAG, hparams_metadata.NULL_TENSOR, metadata), step)

    def close(self) -> None:
        """The next event opens the file again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _add(self, summary: summary_pb2.Summary, step: int) -> None:
        self._write(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: event_pb2.Event) -> None:
        if self._file is None:
            self._file = self._path.open("ab")
        RecordWriter(self._file).write(event.SerializeToString())
        self._file.flush()


def cut(folder: Path, step: int) -> None:
    """Drops every event after `step`, and those of the test and the end, which come anew.

    Each file is written beside and renamed into place.
    """
    for path in folder.glob("events.out.tfevents.*"):
        beside = path.with_name(f".{path.name}")
        with beside.open("wb") as file:
            writer = RecordWriter(file)
            for record in RawEventFileLoader(str(path)).Load():
                event = event_pb2.Event.FromString(record)
                kept = event.step <= step and not any(map(_of_the_end, event.summary.value))
                if kept or event.HasField("file_version"):
                    writer.write(record)
        os.replace(beside, path)


def _of_the_end(value: summary_pb2.Summary.Value) -> bool:
    return value.tag.startswith("test/") or value.tag == hparams_metadata.SESSION_END_INFO_TAG


def _scalar(tag: str, value: float) -> summary_pb2.Summary.Value:
    """As `scalar_pb` of tensorboard's plugin makes it, without NumPy: this is what is written most."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[value], tensor_shape={})
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=SCALAR)


def _tensor_pb(tag: str, tensor, metadata) -> summary_pb2.Summary:
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
