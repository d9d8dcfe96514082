"""A folder of images, one folder a class: ``train/cat/001.jpg``, or the classes directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, one_line, quoted

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_PART_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_LARGEST = 1 << 22  # pixels of an image; more features than that are no linear classifier's


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Return X_train, y_train, ... and image_shape of the images below a folder.

    Rows are in the order of the names of classes and files. Images that are all gray have one
    channel; others are read as red, green, blue.

    Raises
    ------
    InputError
        If there are no such folders, an image cannot be read, or two differ in size; the message
        names the files.
    """
    folders = {
        part: path / name
        for part, names in _PART_FOLDERS.items()
        for name in names
        if (path / name).is_dir()
    }
    if "train" not in folders:
        folders = {"train": path}
    found = {part: _files_by_class(folder) for part, folder in folders.items()}
    if not found["train"]:
        raise InputError(
            f"the folder {path} holds no data: neither CIFAR, nor files such as X_train.npy and "
            "y_train.npy, nor images in a folder for each class"
        )
    images = read_images([file for files in found.values() for _, file in files])
    arrays: dict[str, NDArray[Any]] = {"image_shape": np.array(images.shape[1:])}
    start = 0
    for part, files in found.items():
        if files:
            rows = images[start : start + len(files)]
            arrays[f"X_{part}"] = rows.reshape(len(rows), -1)
            arrays[f"y_{part}"] = np.array([name for name, _ in files], object)
            start += len(files)
    return arrays


def _files_by_class(folder: Path) -> list[tuple[str, Path]]:
    """Return the name of the class and the path of every image."""
    return [
        (of_class.name, file)
        for of_class in sorted(folder.iterdir())
        if of_class.is_dir() and not of_class.name.startswith(".")
        for file in sorted(of_class.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def read_images(paths: list[Path]) -> NDArray[np.uint8]:
    """Return images of one size as an array (n, channels, height, width).

    Raises
    ------
    InputError
        If an image cannot be read or has another size than the first; it names the files.
    """
    modes, first = set(), None
    for path in paths:
        with _opened(path) as picture:
            if first is None:
                first = picture.size
            if picture.size != first:
                raise InputError(
                    f"{path} has {_size(picture.size)} pixels, and {paths[0]} has {_size(first)}; "
                    "all images must be of one size: resize them"
                )
            modes.add(picture.mode)
    if first is None:
        raise InputError("there are no images")
    if first[0] * first[1] > _LARGEST:
        raise InputError(f"{paths[0]} has {_size(first)} pixels; resize images to {_LARGEST:,}")
    mode = "L" if modes <= {"L", "1"} else "RGB"
    images = np.empty((len(paths), len(mode), first[1], first[0]), np.uint8)
    for image, path in zip(images, paths, strict=True):
        with _opened(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise InputError(
                    f"{path} has pixels of the mode {picture.mode}, of more than 8 bits; save it "
                    "with 8 bits a channel"
                )
            pixels = np.asarray(picture.convert(mode))
        image[:] = pixels if mode == "L" else pixels.transpose(2, 0, 1)
    return images


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image; what Pillow raises becomes one line."""
    from PIL import Image  # noqa: PLC0415  (takes 0.05 s)

    try:
        with Image.open(path) as picture:
            yield picture
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  (its plug-ins raise what they like)
        reason = one_line(str(error), 200) or type(error).__name__
        raise InputError(f"{path} cannot be read as an image: {quoted(reason, 200)}") from None
