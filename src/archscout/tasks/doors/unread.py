"""What to do with files that no door reads: by their endings, one sentence each."""

from __future__ import annotations

from pathlib import Path

from archscout.tasks import sound
from archscout.tasks.decode import SUFFIXES, shown

_ADVICE = {
    "is packed: unpack it, and name what was in it": "gz bz2 xz zst zip 7z rar tgz tbz2 txz",
    "is a spreadsheet: save its table as CSV in UTF-8, and name that": "xls xlsx xlsm ods numbers",
    "is pickled, or may be, and is never loaded, for it could run code: write its arrays with numpy.savez": (
        "pkl pickle p joblib pt pth ckpt"
    ),
    "is not read: write its arrays with numpy.savez, or its table as Parquet": (
        "h5 hdf5 hdf mat feather arrow orc avro tfrecord tfrecords rec lmdb mdb db sqlite rds rdata dta sav xpt"
    ),
    "is not read: bring its series into a .ts file, or into a CSV file with a row an example": "arff",
    "is a text: text:file=PATH learns to go on with one, and a list of pictures is a CSV file": "txt md text",
    "is not read: give the folder that the pictures and masks lie in, or COCO's .json": "xml yaml yml",
    "is a film: save its frames as pictures": "mp4 avi mov mkv webm",
}
_BY_ENDING = {ending: advice for advice, endings in _ADVICE.items() for ending in endings.split()}


def advice(path: Path) -> str:
    """What is said of a file that is no data that are known, without a point."""
    ending = path.suffix.lower()
    if ending in SUFFIXES:
        return f"'{shown(path)}' is a single picture: give the folder of class folders, or a list with labels"
    if ending in sound.SUFFIXES | sound.OTHERS:
        return f"'{shown(path)}' is a single recording: give the folder of class folders, or a list with labels"
    if ending.removeprefix(".") in _BY_ENDING:
        return f"'{shown(path)}' {_BY_ENDING[ending.removeprefix('.')]}"
    return (
        f"'{shown(path)}' is neither an .npz archive, a list of pictures or a table (CSV, JSON lines, Parquet), a tar "
        "file, a .ts file nor a folder of class folders"
    )
