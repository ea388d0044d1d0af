"""TensorBoard event files, written with tensorboard's own protos: no other framework is needed."""

import io
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from .data.files import write_text


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
        for tag, value in values.items():
            self._add(scalar_pb(tag, value), step)

    def text(self, step: int, tag: str, markdown: str) -> None:
        self._add(text_pb(tag, markdown), step)

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """pixels: uint8 [height, width, 3]."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        height, width = pixels.shape[:2]
        strings = [str(width).encode(), str(height).encode(), file.getvalue()]
        tensor = make_tensor_proto(strings, dtype=np.object_)
        self._add(_tensor_pb(tag, tensor, image_metadata.create_summary_metadata(None, None)), step)

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

    def hparams(self, values: Mapping[str, Any], run: str) -> None:
        """The run's row in the HParams table, whose metrics are the run's scalars; without `run`, equal rows merge."""
        self._add(hparams_pb(dict(values), trial_id=run), 0)

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


def _tensor_pb(tag: str, tensor, metadata) -> summary_pb2.Summary:
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
