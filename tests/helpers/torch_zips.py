"""A hand-made zip file that zipfile and torch read differently."""

import io
import struct
import zipfile


def with_two_directories() -> bytes:
    """A zip that zipfile reads as a file of torch.save, and torch as a TorchScript archive.

    zipfile reads the central directory that ends before the end record, torch the one that starts
    at the offset in the end record.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("padding", b"0" * 1000)
        for name in ("data.pkl", "version", "constants.pkl", "constants.pkx"):
            file.writestr(f"archive/{name}", b"3\n" if name == "version" else b"\x80\x02}.")
        infos, start = file.infolist(), file.start_dir
    records, directory = buffer.getvalue()[:start], buffer.getvalue()[start:]
    entries = []
    for info in infos:
        length = 46 + len(info.filename)
        entries.append(directory[:length])
        directory = directory[length:]
    _, data, version, torchscript, harmless = entries
    for_torch = data + version + torchscript
    listed = (data, version, harmless)
    # zipfile adds the displacement of the directory to each record's offset
    moved = (int.from_bytes(e[42:46], "little") - len(for_torch) for e in listed)
    for_zipfile = b"".join(
        entry[:42] + offset.to_bytes(4, "little") + entry[46:]
        for entry, offset in zip(listed, moved, strict=True)
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 3, 3, len(for_torch), len(records), 0)
    return records + for_torch + for_zipfile + end
