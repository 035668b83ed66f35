"""What the `datasets` library loads: folders it saved, folders of data files, single files, names on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_forget.ground.errors import UserError

FILE_KINDS = {".parquet": "parquet", ".arrow": "arrow"}


def load_datasets(what: str, path: str, config: str | None = None) -> dict[str, Any]:
    """Split -> `datasets.Dataset`; a data set without splits is all "train".

    Args:
        what: the data set, for messages.
        path: a folder written by `save_to_disk`, a folder of data files, a Parquet or Arrow file, or a name on the
            hub.
        config: the data set's configuration, where it has several.

    Raises:
        UserError: it cannot be loaded, or the hub cannot be reached.
    """
    import datasets as library

    from cl_forget.ground.hub import hub_offline_if_unreachable, out_of_reach

    place = Path(path).expanduser()
    try:
        if is_saved(place):
            loaded: Any = library.load_from_disk(str(place))
        elif place.is_dir():
            loaded = library.load_dataset(str(place), config)
        elif place.is_file():
            loaded = library.load_dataset(FILE_KINDS[place.suffix.lower()], data_files={"train": str(place)})
        else:
            with hub_offline_if_unreachable():
                loaded = library.load_dataset(path, config)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if not place.exists() and out_of_reach(error):
            raise UserError(
                f"{what} could not be had from the hub ({type(error).__name__}): check the name and the network, "
                "or download it elsewhere and give the folder."
            ) from error
        raise UserError(f"{what} cannot be loaded: {first}; check its path and config.") from error
    return (
        {str(split): own for split, own in loaded.items()}
        if isinstance(loaded, library.DatasetDict)
        else {"train": loaded}
    )


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
