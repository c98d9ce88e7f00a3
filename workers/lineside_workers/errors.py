"""Errors of the worker side. Each message names the subject, the value, the bound and the next step.

WorkerError
├── ModelError      a model folder that cannot be used
│   └── SigningError   nobody who is trusted here has signed it, or a key that cannot be used
├── RolloutError    a version that cannot take the stage asked for
├── DeviceError     a device that is not there
├── RecordingError  recordings that cannot be read
├── LabelError      labels that are missing, empty or do not fit
├── SplitError      a split in which one machine stands on two sides
├── DatasetError    public data that is missing or damaged
└── SettingsError   an environment variable or an option that does not fit
"""


class WorkerError(RuntimeError):
    """Base of everything this package raises on purpose."""


class ModelError(WorkerError):
    """A model folder is missing, incomplete, changed or not readable; rebuild or reinstall it."""


class SigningError(ModelError):
    """A model is not signed by a trusted key, or a key cannot be used; the message says what to do."""


class RolloutError(WorkerError):
    """A version cannot take the stage asked for; the message says which step comes first."""


class DeviceError(WorkerError):
    """The device asked for is not on this machine; choose another."""


class RecordingError(WorkerError):
    """A recording cannot be read; record it again."""


class LabelError(WorkerError):
    """Labels are missing, empty or do not fit the recording; the message says which line or kind."""


class SplitError(WorkerError):
    """A split lets a model see what it is judged by; give each unit one side."""


class DatasetError(WorkerError):
    """A public data set is missing or damaged; the message says which file and what to do."""


class SettingsError(WorkerError):
    """An option or environment variable does not fit; the message says what does."""
