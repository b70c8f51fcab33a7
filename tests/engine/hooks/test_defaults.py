import logging

from detectron2.utils.events import EventStorage

from ct_lesion.engine.hooks import EpochMetricPrinter


def test_the_progress_line_starts_with_the_epoch(caplog):
    printer = EpochMetricPrinter(max_iter=650, iterations_per_epoch=65)
    with EventStorage(start_iter=129) as storage, caplog.at_level(logging.INFO):
        storage.put_scalar("total_loss", 1.25)
        printer.write()
    [record] = caplog.records
    assert record.getMessage().startswith(" epoch: 2.00/10 ")
    assert "iter: 129  total_loss: 1.25" in record.getMessage()
