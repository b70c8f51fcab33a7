"""A Detectron2 checkpointer that reads files safely and writes a description into each of them."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.utils import comm

from ct_lesion.errors import CheckpointError
from ct_lesion.files import atomic_write, flush_folder, remove_partial_files

from .compatibility import check_compatible
from .load_report import LoadReport, is_important
from .resuming import LAST_CHECKPOINT, find_complete, read_tag, restore
from .shipped import locate_shipped
from .torchvision_resnet import (
    SCHEME,
    check_hash,
    fetch_torchvision,
    has_hash_in_name,
    is_torchvision_resnet,
    rename_torchvision,
)
from .weight_files import (
    DESCRIPTION_KEY,
    cannot_write,
    read_checkpoint,
    refuse_unsafe,
    require_file,
    write_torch,
    write_weights,
)
from .zoo_weights import AUTHOR_KEY, check_stride, fetch, match_names

Description = Mapping[str, str] | Callable[[], Mapping[str, str]] | None


class LesionCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with safe reading, atomic writing and self-described files.

    It reads ``.safetensors``, files of ``torch.save`` (plain data only), torchvision's ResNets
    (``torchvision://resnet18`` or a downloaded file) and Detectron2's ``.pkl`` (arrays only), and
    refuses other pickles. Files are written atomically, and a killed run resumes from the last
    complete checkpoint. After :meth:`load`, ``last_report`` lists the loaded, dropped and newly
    initialised tensors, and ``last_description`` is the checkpoint's description.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        description: Description = None,
        cfg: CfgNode | None = None,
        strict: bool | None = None,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            model: may be wrapped in ``DistributedDataParallel``.
            save_dir: a local folder.
            description: written into each file; a function is called at each save, so that the file
                has the latest metrics. See :func:`ct_lesion.checkpoint.describe`.
            cfg: checkpoints are compared with this config before they are loaded; see
                :func:`check_compatible`.
            strict: for :func:`check_compatible`; ``True`` for evaluation.
            save_to_disk: whether this process writes files; default: only the main process.
            checkpointables: further content of a ``.pth``, e.g. ``optimizer=optimizer``.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.logger = logging.getLogger(__name__)
        self.description = description
        self.cfg = cfg
        self.strict = strict
        self.run: str | None = None  # name of the run to resume, if it is known
        self.resumed_from: Path | None = None
        self.last_report: LoadReport | None = None
        self.last_description: dict[str, str] | None = None
        self._path_during_load = ""

    # ---- saving ---------------------------------------------------------------------------------
    def save(self, name: str, **kwargs: Any) -> None:
        """Write a resumable checkpoint, ``<save_dir>/<name>.pth``, and tag it as the last one.

        Args:
            name: name of the file, without suffix.
            kwargs: extra content, e.g. ``iteration=...``.

        Raises:
            CheckpointError: the file cannot be written; earlier files and the tag are unchanged.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content = {"model": self.model.state_dict()}
        content |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        content |= kwargs
        content[DESCRIPTION_KEY] = self._describe()
        path = self._file(name, ".pth")
        self.logger.info("Saving checkpoint to %s", path)
        write_torch(path, content)
        flush_folder(path.parent)  # the file must be on disk before the tag that names it
        self.tag_last_checkpoint(path.name)

    def save_weights(self, name: str) -> Path | None:
        """Write the model's weights and description to ``<save_dir>/<name>.safetensors``.

        A run cannot be resumed from this file, so it does not become the last checkpoint.

        Returns:
            The file's path; ``None`` if this process does not save.

        Raises:
            CheckpointError: see :meth:`save`.
        """
        if not self.save_dir or not self.save_to_disk:
            return None
        path = self._file(name, ".safetensors")
        write_weights(path, self.model.state_dict(), self._describe())
        self.logger.info("Saved weights to %s", path)
        return path

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the file that a resumed run starts from."""
        path = Path(self.save_dir) / LAST_CHECKPOINT
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(last_filename_basename, encoding="utf-8")
        except OSError as error:
            raise cannot_write(path, error) from error

    def begin_new_run(self) -> None:
        """Remove the tag of an earlier run in the same folder, so that it is not resumed.

        The earlier checkpoints stay until they are overwritten.
        """
        remove_partial_files(Path(self.save_dir))
        tag = Path(self.save_dir) / LAST_CHECKPOINT
        if tag.is_file():
            tag.unlink()
            self.logger.warning(
                "%s contains checkpoints of an earlier run. This run starts from the beginning and "
                "overwrites those of the same name; --resume continues the earlier run.",
                self.save_dir,
            )

    def _file(self, name: str, suffix: str) -> Path:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not a valid file name in {self.save_dir}.")
        folder = Path(self.save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}{suffix}"

    def _describe(self) -> dict[str, str]:
        description = self.description() if callable(self.description) else self.description
        return dict(description or {})

    # ---- loading --------------------------------------------------------------------------------
    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last complete checkpoint of this run, or else only the weights of a model.

        ``resumed_from`` is the checkpoint's path, or ``None`` if no run was resumed.

        Args:
            path: path of the model to start from if there is no checkpoint.
            resume: whether to look for a checkpoint.

        Returns:
            The file's content other than model and checkpointables, e.g. ``iteration``.

        Raises:
            CheckpointError: see :meth:`load`; or there are checkpoints, but none is complete.
        """
        found = None
        if resume and comm.is_main_process():
            remove_partial_files(Path(self.save_dir))
            found = find_complete(Path(self.save_dir), self.run)
        self.resumed_from = comm.all_gather(found)[0]
        if self.resumed_from is None:
            return self.load(path, checkpointables=[])
        return self.load(str(self.resumed_from))

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a model, and the checkpointables that the file contains.

        Args:
            path: a local file, a URL that Detectron2 can fetch, ``torchvision://resnet18`` or
                ``ct_lesion://NAME``; if it is empty, nothing is loaded.
            checkpointables: names to load; default: all.

        Returns:
            The file's content other than model and checkpointables, e.g. ``iteration``.

        Raises:
            CheckpointError: the file cannot be read or does not fit the model.
        """
        self.last_report = self.last_description = None
        try:
            rest = super().load(self._locate(str(path or "")), checkpointables=[])
        finally:
            # Detectron2 does not reset it after an error, but the next load asserts that it is None
            self._parsed_url_during_load = None
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in rest:
                self.logger.info("Loading %s from %s", key, self._path_during_load)
                restore(self._path_during_load, key, self.checkpointables[key], rest.pop(key))
        return rest

    def get_checkpoint_file(self) -> str:
        """Path of the tagged checkpoint; empty if there is no tag.

        Raises:
            CheckpointError: ``last_checkpoint`` does not name a file in its folder.
        """
        name = read_tag(Path(self.save_dir))
        return str(Path(self.save_dir) / name) if name else ""

    def _locate(self, path: str) -> str:
        if path.startswith(SCHEME):
            return str(fetch_torchvision(path))
        path = locate_shipped(path)
        refuse_unsafe(path)
        if "://" in path:
            return fetch(path, self.path_manager)
        if not path:
            return path
        require_file(Path(path), "Correct MODEL.WEIGHTS, or first train the model that writes it.")
        if has_hash_in_name(Path(path)):
            check_hash(Path(path))
        return path

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(filename)
        if self.cfg is not None:
            check_compatible(self.cfg, checkpoint, strict=self.strict)
        self._path_during_load = filename
        self.last_description = checkpoint.description
        if is_torchvision_resnet(checkpoint.model):
            checkpoint.model = rename_torchvision(filename, checkpoint.model, self.model)
        elif checkpoint.match_names:
            checkpoint.model = match_names(checkpoint.path, checkpoint.model, self.model)
            check_stride(filename, checkpoint.rest[AUTHOR_KEY], self.model)
        # this key would make Detectron2 match tensors by similar names
        rest = {k: v for k, v in checkpoint.rest.items() if k != "matching_heuristics"}
        return {**rest, "model": checkpoint.model}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        given = list(checkpoint["model"])  # in the order of the file, for the report
        incompatible = super()._load_model(checkpoint)
        misshapen = {name for name, _, _ in incompatible.incorrect_shapes}
        missing = set(incompatible.missing_keys) - misshapen
        unexpected = set(incompatible.unexpected_keys)
        self.last_report = LoadReport(
            path=self._path_during_load,
            loaded=[n for n in given if n not in misshapen | unexpected],
            missing=[n for n in self.model.state_dict() if n in missing and is_important(n)],
            unexpected=[n for n in given if n in unexpected and is_important(n)],
            wrong_shape=list(incompatible.incorrect_shapes),
        )
        if not self.last_report.loaded:
            raise CheckpointError(
                f"{self._path_during_load} does not fit this model: none of its {len(given)} "
                "tensors matches a tensor of the model by name and shape. Choose another file in "
                "MODEL.WEIGHTS."
            )
        return incompatible

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        report = self.last_report
        # fine-tuning starts with missing tensors of a new head; a wrong shape is often a mistake
        level = logging.WARNING if report.wrong_shape else logging.INFO
        self.logger.log(level, "%s", report.summary())
