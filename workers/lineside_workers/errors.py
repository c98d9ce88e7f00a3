"""Errors of the worker side. Each message names the subject, the value, the bound and the next step.

WorkerError
├── ModelError      a model folder that cannot be used
│   └── SigningError   nobody who is trusted here has signed it, or a key that cannot be used
├── DeviceError     a device that is not there
├── RecordingError  recordings that cannot be read
├── DatasetError    public data that is missing or damaged
└── SettingsError   an environment variable or an option that does not fit
"""


class WorkerError(RuntimeError):
    """Base of everything this package raises on purpose."""


class ModelError(WorkerError):
    """A model folder is missing, incomplete, changed or not readable; rebuild or reinstall it."""


class SigningError(ModelError):
    """A model is not signed by a trusted key, or a key cannot be used; the message says what to do."""


class DeviceError(WorkerError):
    """The device asked for is not on this machine; choose another."""


class RecordingError(WorkerError):
    """A recording cannot be read; record it again."""


class DatasetError(WorkerError):
    """A public data set is missing or damaged; the message says which file and what to do."""


class SettingsError(WorkerError):
    """An option or environment variable does not fit; the message says what does."""
