"""What came in and went out, kept as Parquet: for training, for reports, for replay. Needs ``lineside[recording]``."""

from lineside_gateway.recording.archive import Archive, Bounds, RecordingError
from lineside_gateway.recording.recorder import Recorder

__all__ = ["Archive", "Bounds", "Recorder", "RecordingError"]
