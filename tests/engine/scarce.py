"""A running batch on a device with little memory."""

from typing import Any

import torch

from deployments.stepwise.turns import Turns


class Scarce(Turns):
    """Memory for three rows."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        step = self._stepper.step

        def scarce() -> None:
            if len(self._stepper.rows) > 3:
                raise torch.OutOfMemoryError("no memory")
            step()

        self._stepper.step = scarce  # type: ignore[method-assign]
