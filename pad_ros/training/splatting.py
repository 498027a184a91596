"""Fitting the Gaussians to the reference views.

3D Gaussian Splatting (Kerbl et al. 2023) with given numbers of Gaussians, few while the views are small: instead of
cloning and pruning, dead Gaussians are moved onto live ones that have large gradients (after Kheradmand et
al. 2024, "3DGS as MCMC", section 4). Before the last steps those that no view shows much of are dropped
(as by Niemeyer et al. 2024, "RadSplat"), which makes rendering faster. Rates stay high to the end, and the result is
the mean of the last steps (Polyak and Juditsky 1992).
Only the part's box of each view is rendered.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..imaging.background import Background
from ..imaging.views import View
from ..progress import Progress
from ..rendering.gaussians import Gaussians
from ..rendering.losses import photometric_gradient, psnr
from ..rendering.tensors import GaussianTensors
from ..settings import SplattingSettings
from .train_views import TrainView, most_seen, of_size, render_together

SSIM_WEIGHT = 0.2  # against the mean absolute difference
SILHOUETTE_WEIGHT = 0.1  # of |alpha - silhouette|, where a plain background gives silhouettes
OPACITY_WEIGHT = 0.01  # of the mean opacity: hidden Gaussians fade and are moved to where they are needed
# With few views (FADING_VIEWS / views) squared times that weight, up to MOST_FADING times: little rules out material
# in the gaps between things.
FADING_VIEWS, MOST_FADING = 35.0, 5.0
DEAD_OPACITY = 0.01
VIEW_MARGIN = 8  # px around the part's box that are rendered too, so that floaters there are seen
FIRST_PIXELS, COARSE_PIXELS = 20_000, 100_000  # larger windows are shrunk to about so many, first and then
LR_SCALES, LR_QUATS, LR_OPACITIES, LR_SH0, LR_SH = 2e-2, 8e-3, 5e-2, 1e-2, 2e-3  # learning rates at the start
DECAY = 5.0  # those of shape and colour end at 1/DECAY
SH_SHRINKAGE = 45.0  # over the number of views: weight decay of the higher harmonics, which fit few views too well
AVERAGED_FROM = 0.9  # share of the fit; the result is the mean of all steps from then on, without their jitter
STEPS_PER_VIEW = 200  # at most: more steps fit few views closer, but nothing between them
STEPS_PER_NOTE = 50  # on the progress
MAX_VIEWS_PER_STEP = 4
MAX_PIXELS_PER_STEP = 8_000_000  # of the images rendered in one call


def _views_per_step(views: Sequence[TrainView], device: str) -> int:
    """One on a CPU; a GPU renders several small pictures in hardly more time than one."""
    largest = max(view.camera.width * view.camera.height for view in views)
    return 1 if device == "cpu" else max(min(MAX_VIEWS_PER_STEP, MAX_PIXELS_PER_STEP // largest), 1)


class _Parameters:
    """The raw, unconstrained parameters and their optimizer, whose steps are over `batch` views each."""

    def __init__(
        self, given: Gaussians, settings: SplattingSettings, radius: float, device: str, batch: int, views: int
    ) -> None:  # fmt: skip
        start = GaussianTensors.of(given, device)
        logits = torch.logit(start.opacities.clamp(1e-3, 1 - 1e-3))
        values = start.means, start.quats, start.scales.log(), logits, start.sh[:, :1], start.sh[:, 1:]
        self.means, self.quats, self.log_scales, self.logits, self.sh0, self.sh = (
            value.clone().requires_grad_() for value in values
        )
        rates = [
            (self.means, settings.lr_means * radius, settings.lr_decay), (self.quats, LR_QUATS, DECAY),
            (self.log_scales, LR_SCALES, DECAY), (self.sh0, LR_SH0, DECAY), (self.sh, LR_SH, DECAY),
            (self.logits, LR_OPACITIES, 1.0),
        ]  # fmt: skip
        rates = [(p, rate * batch**0.5, decay) for p, rate, decay in rates]
        groups = [
            {"params": [p], "lr": rate, "start": rate, "decay": decay,
             "weight_decay": SH_SHRINKAGE / views if p is self.sh else 0.0}
            for p, rate, decay in rates
        ]  # fmt: skip
        betas = (1 - batch * (1 - 0.9), 1 - batch * (1 - 0.999))  # as long a memory of views as with one at a time
        self.optimizer = torch.optim.AdamW(groups, betas=betas, eps=1e-15 / batch**0.5, fused=True)
        self._eps2d = settings.eps2d
        self._mean: list[Tensor] = []  # of what `average` has seen,
        self._averaged = 0  # in so many calls

    def gaussians(self) -> GaussianTensors:
        return self._gaussians(self._values())

    def averaged(self) -> GaussianTensors:
        """The mean of what `average` has seen; as they are where it has seen nothing."""
        return self._gaussians(self._mean or self._values())

    @torch.no_grad()
    def average(self) -> None:
        """Take the present values into the mean; the Gaussians must stay the same ones from the first call on."""
        self._averaged += 1
        if not self._mean:
            self._mean = [value.detach().clone() for value in self._values()]
        for mean, value in zip(self._mean, self._values(), strict=True):
            mean.lerp_(value.detach(), 1 / self._averaged)

    def _values(self) -> list[Tensor]:
        return [self.means, self.quats, self.log_scales, self.logits, self.sh0, self.sh]

    def _gaussians(self, values: list[Tensor]) -> GaussianTensors:
        means, quats, log_scales, logits, sh0, sh = values
        return GaussianTensors(
            means, quats, log_scales.exp(), torch.sigmoid(logits), torch.cat([sh0, sh], dim=1), self._eps2d
        )

    def step(self, progress: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["start"] * group["decay"] ** (-progress)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def relocate(self, pull: Tensor, generator: torch.Generator) -> None:
        """Move dead Gaussians onto live ones, drawn by `pull` [N]; parent and child share the space."""
        dead = torch.nonzero(torch.sigmoid(self.logits) < DEAD_OPACITY)[:, 0]
        weights = pull.clone()
        weights[dead] = 0
        alive = int((weights > 0).sum())
        if len(dead) == 0 or alive == 0:
            return
        dead = dead[:alive]
        parents = torch.multinomial(weights.cpu(), len(dead), replacement=False, generator=generator).to(dead)
        self._divide(parents, dead, generator)

    @torch.no_grad()
    def grow(self, count: int, pull: Tensor, generator: torch.Generator) -> None:
        """Add Gaussians until there are `count`: parts of live ones, drawn by `pull` [N]."""
        before = len(self.means)
        if count <= before or not bool((pull > 0).any()):
            return
        parents = torch.multinomial(pull.cpu(), count - before, replacement=True, generator=generator).to(pull.device)
        self.keep(torch.cat([torch.arange(before, device=pull.device), parents]))
        self._divide(parents, torch.arange(before, count, device=pull.device), generator)

    def _divide(self, parents: Tensor, children: Tensor, generator: torch.Generator) -> None:
        """Put each child [M] into the space of its parent [M], which it shares from then on."""
        offset = torch.randn(len(children), 3, generator=generator).to(self.means)
        offset = _rotate(self.quats[parents], offset * self.log_scales[parents].exp())
        self.log_scales[parents] -= np.log(1.5)
        for tensor in self._values():
            tensor[children] = tensor[parents]
            state = self.optimizer.state[tensor]
            for key in ("exp_avg", "exp_avg_sq"):
                state[key][children] = 0
                state[key][parents] = 0
        self.means[children] += offset

    @torch.no_grad()
    def keep(self, chosen: Tensor) -> None:
        """Only those at `chosen` [M], each as often as it is there, with what the optimizer knows of them."""
        for name in ("means", "quats", "log_scales", "logits", "sh0", "sh"):
            old: Tensor = getattr(self, name)
            new = old[chosen].clone().requires_grad_()
            state = self.optimizer.state.pop(old)
            self.optimizer.state[new] = {
                key: value[chosen] if value.shape == old.shape else value for key, value in state.items()
            }
            for group in self.optimizer.param_groups:
                if group["params"][0] is old:
                    group["params"] = [new]
            setattr(self, name, new)


def _rotate(quats: Tensor, vectors: Tensor) -> Tensor:  # [N, 4], [N, 3] -> [N, 3]
    q = torch.nn.functional.normalize(quats, dim=-1)
    w, u = q[:, :1], q[:, 1:]
    t = 2 * torch.linalg.cross(u, vectors)
    return vectors + w * t + torch.linalg.cross(u, t)


class _Fit:
    """A fit under way: what is optimised, and the views that it is compared with."""

    def __init__(
        self, start: Gaussians, views: Sequence[View], background: Background, settings: SplattingSettings,
        device: str, seed: int,
    ) -> None:  # fmt: skip
        s, margin = settings, VIEW_MARGIN
        self.settings = settings
        self.generator = torch.Generator().manual_seed(seed)
        self.train = [TrainView.of(view, margin, device) for view in views]
        self.coarse = of_size(COARSE_PIXELS, views, self.train, margin, device)
        self.stages = [
            (s.first_until, of_size(FIRST_PIXELS, views, self.train, margin, device)),
            (s.coarse_until, self.coarse), (1.0, self.train),
        ]  # fmt: skip
        radius = float(np.quantile(np.linalg.norm(start.means - start.means.mean(axis=0), axis=1), 0.95))
        self.batch = _views_per_step(self.train, device)
        self.opacity_weight = OPACITY_WEIGHT * float(np.clip((FADING_VIEWS / len(views)) ** 2, 1, MOST_FADING))
        self.parameters = _Parameters(start, s, radius, device, self.batch, len(views))
        self.fitted_before = bool(start.sh[:, 1:].any())
        self.background = torch.tensor([background.rgb01], device=device)
        self.on_cpu = device == "cpu"
        self.pull = self._no_pull()  # gradients of the means, summed since Gaussians were last moved
        self.growing, self.moving = True, True  # Gaussians are yet to be added, are relocated
        self.order: list[int] = []

    def step(self, share: float) -> Tensor:
        """One step, when `share` of the fit is over; returns the loss."""
        s, views = self.settings, self._next_views(share)
        degree = s.sh_degree if self.fitted_before else min(s.sh_degree, int(share * 4 * (s.sh_degree + 1)))
        rendered = render_together(views, self.parameters.gaussians(), self.background, degree, not self.on_cpu)
        outputs, gradients, losses = [], [], []
        for view, (rgb, alpha) in zip(views, rendered, strict=True):
            loss, by_rgb = photometric_gradient(rgb.detach(), view.target, SSIM_WEIGHT)
            losses.append(loss)
            outputs.append(rgb)
            gradients.append(by_rgb / len(views))
            if view.silhouette is not None:
                outputs.append(alpha)
                weight = SILHOUETTE_WEIGHT / (alpha.numel() * len(views))
                gradients.append((alpha.detach() - view.silhouette).sign() * weight)
        torch.autograd.backward(outputs, gradients)
        means, logits = self.parameters.means, self.parameters.logits
        assert means.grad is not None and logits.grad is not None
        opacities = torch.sigmoid(logits.detach())
        logits.grad += self.opacity_weight / len(opacities) * opacities * (1 - opacities)
        if self.moving or self.growing:
            self.pull += torch.linalg.norm(means.grad, dim=1)
        self.parameters.step(share)
        if share >= AVERAGED_FROM and not (self.moving or self.growing):
            self.parameters.average()
        return torch.stack(losses).mean()

    def move_gaussians(self, share: float, due: bool) -> None:
        """Drop, add or relocate Gaussians where the schedule says so; `due`: as every so many steps."""
        s = self.settings
        if self.moving and share >= s.relocate_until:
            self.moving = False
            # On the coarse views: large ones would take as long as many steps.
            self.parameters.keep(most_seen(self.parameters.gaussians(), self.coarse, s.kept))
        elif self.growing and due and share >= s.first_until:
            self.growing = False
            self.parameters.grow(s.gaussians, self.pull, self.generator)
        elif self.moving and due:
            self.parameters.relocate(self.pull, self.generator)
        else:
            return
        self.pull = self._no_pull()

    def _no_pull(self) -> Tensor:
        return torch.zeros(len(self.parameters.means), device=self.parameters.means.device)

    def _next_views(self, share: float) -> list[TrainView]:
        if not self.order:
            self.order = torch.randperm(len(self.train), generator=self.generator).tolist()
        shown = next(stage for until, stage in self.stages if share < until)
        chosen = [shown[i] for i in self.order[-self.batch :]]
        del self.order[-self.batch :]
        return chosen


def most_steps(settings: SplattingSettings, views: Sequence[View]) -> int:
    """The most steps that a fit to these views takes: fewer for few views."""
    return min(settings.steps, STEPS_PER_VIEW * len(views))


def fit_gaussians(
    start: Gaussians,
    views: tuple[View, ...],
    background: Background,
    settings: SplattingSettings,
    seconds: float,
    device: str = "cpu",
    seed: int = 0,
) -> Gaussians:
    """The Gaussians that reproduce the views, after `seconds` or `settings.steps` (fewer for few views).

    They grow from those of `start` to `settings.gaussians` once the smallest views have been learned. The schedule
    follows whichever of them runs out first. `views` must have poses; their masks (where known) limit what is
    rendered and add the silhouette term.
    """
    fit = _Fit(start, views, background, settings, device, seed)
    steps = most_steps(settings, views)
    smoothed, note = torch.tensor(float("nan")), ""
    began = time.monotonic()
    with Progress("fitting Gaussians", 1.0) as bar:
        for step in itertools.count(0, fit.batch):  # counted in views
            share = max(step / steps, (time.monotonic() - began) / seconds)
            if share >= 1:
                break
            loss = fit.step(share)
            smoothed = loss if step == 0 else 0.98 * smoothed + 0.02 * loss
            fit.move_gaussians(share, due=(step + fit.batch) % settings.relocate_every < fit.batch)
            if step % STEPS_PER_NOTE < fit.batch:  # reading the loss waits for a GPU
                note = f"step {step}, loss {float(smoothed):.4f}"
            bar.update(share - bar.done, note)
    fitted = fit.parameters.averaged().arrays()
    lengths = np.linalg.norm(fitted.quats, axis=1, keepdims=True)
    fitted = replace(fitted, quats=fitted.quats / np.maximum(lengths, np.float32(1e-12)))
    return fitted.take(fitted.opacities > DEAD_OPACITY)


@dataclass(frozen=True)
class RenderingQuality:
    """How well held-out views are rendered, in dB; `part` counts only the pixels of the part."""

    psnr: float
    psnr_part: float
    ssim: float
    views: int


@torch.no_grad()
def rendering_quality(
    gaussians: Gaussians, views: tuple[View, ...], background: Background, device: str = "cpu"
) -> RenderingQuality:
    """Mean PSNR and SSIM over views (with poses), on full frames and on the part's pixels."""
    colour, tensors = torch.tensor([background.rgb01], device=device), GaussianTensors.of(gaussians, device)
    full, part, similarity = [], [], []
    for view in views:
        window = TrainView.of(View(view.name, view.image, view.camera, view.pose), 0, device)
        rgb, _ = window.render(tensors, colour, tensors.sh_degree)
        rgb = rgb.clamp(0, 1)
        mask = None if view.mask is None else torch.from_numpy(view.mask).to(device)
        full.append(psnr(rgb, window.target.target))
        part.append(psnr(rgb, window.target.target, mask))
        similarity.append(float(window.target.compare(rgb)[0].mean()))
    return RenderingQuality(float(np.mean(full)), float(np.mean(part)), float(np.mean(similarity)), len(views))
