"""The CNCB lesion datasets, registered with Detectron2 (being written)."""


def register_cncb_lesion(name: str, json_file: str, image_root: str) -> None:
    raise NotImplementedError
