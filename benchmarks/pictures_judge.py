"""A judge of expressions: `classifier/faces` looks at whole faces and often misreads mouths, which are eight pixels wide.

The same network, trained here on the middle of the lower half of real faces alone, names them far more surely.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from handmade.data.source import open_data
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.systems.classifier.system import Classifier, Config

SIZE, CROP = 64, 32
STEPS, BATCH = 900, 128
VALUES = ("happy", "sad")


def mouths(pixels: Tensor) -> Tensor:
    """(N, C, H, H) faces of any size -> (N, C, 32, 32), the middle of their lower half at 64 px."""
    if pixels.shape[-1] != SIZE:
        pixels = interpolate(pixels, (SIZE, SIZE), mode="bilinear", antialias=True)
    side = (SIZE - CROP) // 2
    return pixels[..., SIZE - CROP :, side : side + CROP]


class Mouths:
    """Reads expressions from faces."""

    def __init__(self, seed: int = 0):
        torch.manual_seed(seed)
        faces, spec = open_data({"source": "faces", "size": SIZE, "n": 10_000, "flip": True})
        self.column = list(spec.labels).index("expression")
        assert spec.labels["expression"] == VALUES
        self.network = Classifier(Config(shift=2), ImageSpec(3, CROP, {"expression": VALUES}))
        optimizer = self.network.optimizers()["classifier"]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
        luck = torch.Generator().manual_seed(seed)
        self.network.train()
        with torch.enable_grad():
            for _ in range(STEPS):
                batch = faces.batch(torch.randint(len(faces), (BATCH,), generator=luck), luck)
                labels = batch.labels[:, self.column : self.column + 1]
                for turn in self.network.objective(ImageBatch(mouths(batch.pixels), labels)):
                    optimizer.zero_grad()
                    turn.loss.backward()
                    optimizer.step()
                schedule.step()
        self.network.eval()

    @torch.no_grad()
    def odds(self, pixels: Tensor) -> Tensor:
        """(N, C, H, H) faces in [-1, 1] -> (N, 2) probabilities of VALUES."""
        return torch.cat([self.network.probabilities(mouths(part))[0] for part in pixels.split(500)])
