"""Where public data lies: ``LINESIDE_DATA``, else ``../shared/data`` beside the checkout; nothing is downloaded."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lineside_workers.errors import DatasetError

VARIABLE = "LINESIDE_DATA"
_BESIDE = Path("..") / "shared" / "data"


def root(environ: Mapping[str, str] | None = None) -> Path:
    """Folder with one subfolder per data set.

    Raises:
        DatasetError: It does not exist; set ``LINESIDE_DATA``.
    """
    values = os.environ if environ is None else environ
    folder = Path(values.get(VARIABLE) or _BESIDE)
    if not folder.is_dir():
        raise DatasetError(f"data folder '{folder}' does not exist; set {VARIABLE} to the folder with the data sets")
    return folder


def required(folder: Path, name: str) -> Path:
    """Path of one file of a data set.

    Raises:
        DatasetError: The file is missing.
    """
    path = folder / name
    if not path.is_file():
        raise DatasetError(f"data set file '{path}' is missing; fetch the set or leave it out with --only")
    return path


def table(path: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Rows of a gzipped CSV file by column name.

    Raises:
        DatasetError: The file is cut short or no gzip file.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield from csv.DictReader(lines, delimiter=delimiter)
    except (EOFError, gzip.BadGzipFile) as error:
        raise DatasetError(f"data set file '{path}' is damaged ({error}); fetch it again") from error
