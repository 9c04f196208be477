"""Names as people write them, for identifiers that come from files."""


def architecture_name(name: str) -> str:
    """Name of an architecture as people write it."""
    written = {"unetplusplus": "UNet++", "unet": "UNet", "manet": "MAnet", "deeplabv3plus": "DeepLabV3+", "linknet": "LinkNet"}
    return written.get(name.lower(), name)


def data_set_name(name: str) -> str:
    """Name of a scored set of images as people write it."""
    return {"set1": "Zheng 2018, set 1", "set2": "Zheng 2018, set 2", "test": "both together"}.get(name, name)
