"""Names as people write them, for identifiers that come from files."""


def encoder_name(name: str) -> str:
    """Name of an encoder as people write it."""
    return name.removeprefix("tu-tf_").replace("_", " ")


def data_set_name(name: str) -> str:
    """Name of a scored set of images as people write it."""
    names = {"set1": "Zheng 2018, set 1", "set2": "Zheng 2018, set 2", "bccd": "BCCD", "test": "all together"}
    return names.get(name, name)
