"""What a training knows of itself besides its variables: a dict of JSON in every snapshot."""
import dataclasses


@dataclasses.dataclass
class Progress:
    """step: steps taken. rows: the log, a dict of figures per finished epoch. best: the best value of
    the monitored figure, best_epoch: from 1. plateau, early_stop: their own states. stopped: no
    further epoch follows."""
    step: int = 0
    rows: list = dataclasses.field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None
    plateau: dict | None = None
    early_stop: dict | None = None
    stopped: bool = False

    @property
    def epochs(self):
        """Finished epochs."""
        return len(self.rows)
