"""Fitting the Gaussians to the reference views.

3D Gaussian Splatting (Kerbl et al. 2023) with given numbers of Gaussians, few while the views are small: instead of
cloning and pruning, dead Gaussians are moved onto live ones that the loss still pulls at (after Kheradmand et
al. 2024, "3DGS as MCMC", section 4). Before the last steps those that no view shows much of are dropped
(as by Niemeyer et al. 2024, "RadSplat"), which makes rendering faster.
Only the part's box of each view is rendered.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..comparison.surface_statistics import gathered
from ..imaging.background import Background, mask_box
from ..imaging.geometry import Camera
from ..imaging.views import View
from ..progress import Progress
from ..rendering.gaussians import Gaussians
from ..rendering.rasterize import rasterization
from ..rendering.tensors import GaussianTensors
from .losses import SsimTarget, photometric_gradient, psnr
from .splatting_settings import SplattingSettings

NOTED = 50  # steps between notes on the progress
MOST_VIEWS = 4  # per step, and
PIXELS_AT_ONCE = 8_000_000  # of the pictures rendered in one call


@dataclass(frozen=True, eq=False)
class TrainView:
    """The part's window of one view, ready to be compared with a rendering."""

    name: str
    camera: Camera  # of the full image
    window: tuple[int, int, int, int]  # x0, y0, width, height of the crop
    viewmat: Tensor  # [1, 4, 4]
    intrinsics: Tensor  # [1, 3, 3]
    target: SsimTarget  # [h, w, 3]
    silhouette: Tensor | None  # [h, w, 1] 0/1

    @staticmethod
    def of(view: View, margin: int, device: str) -> TrainView:
        assert view.pose is not None
        height, width = view.image.shape[:2]
        box = mask_box(view.mask, margin) if view.mask is not None else None
        x0, y0, x1, y1 = box or (0, 0, width, height)
        rgb = torch.from_numpy(view.image[y0:y1, x0:x1].astype(np.float32) / 255).to(device)
        mask = None
        if view.mask is not None:
            mask = torch.from_numpy(view.mask[y0:y1, x0:x1, None].astype(np.float32)).to(device)
        viewmat = torch.from_numpy(view.pose.matrix.astype(np.float32))[None].to(device)
        intrinsics = torch.from_numpy(view.camera.K.astype(np.float32))[None].to(device)
        window = (x0, y0, x1 - x0, y1 - y0)
        return TrainView(view.name, view.camera, window, viewmat, intrinsics, SsimTarget(rgb), mask)

    @property
    def pixels(self) -> int:
        """Of the window."""
        return self.window[2] * self.window[3]

    def render(
        self, gaussians: GaussianTensors, background: Tensor, sh_degree: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """RGB [h, w, 3] and alpha [h, w, 1] of the window; `background` [1, 3]."""
        colours, alphas, _ = rasterization(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh,
            self.viewmat, self.intrinsics, self.camera.width, self.camera.height, window=self.window,
            sh_degree=gaussians.sh_degree if sh_degree is None else sh_degree, backgrounds=background,
            eps2d=gaussians.footprint,
        )  # fmt: skip
        return colours[0], alphas[0]


def render_together(
    views: Sequence[TrainView], gaussians: GaussianTensors, background: Tensor, sh_degree: int, jointly: bool
) -> list[tuple[Tensor, Tensor]]:
    """(RGB, alpha) of each view's window, as `TrainView.render`; `jointly` in one call, where they are of one size.

    One call renders whole pictures, which suits a GPU.
    """
    first, sizes = views[0].camera, {(view.camera.width, view.camera.height) for view in views}
    if not jointly or len(views) == 1 or len(sizes) > 1:
        return [view.render(gaussians, background, sh_degree) for view in views]
    colours, alphas, _ = rasterization(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh,
        torch.cat([view.viewmat for view in views]), torch.cat([view.intrinsics for view in views]),
        first.width, first.height, sh_degree=sh_degree, backgrounds=background.repeat(len(views), 1),
        eps2d=gaussians.footprint,
    )  # fmt: skip
    windows = [np.s_[y0 : y0 + h, x0 : x0 + w] for x0, y0, w, h in (view.window for view in views)]
    return [(colours[i][window], alphas[i][window]) for i, window in enumerate(windows)]


def _views_per_step(views: Sequence[TrainView], device: str) -> int:
    """One on a CPU; a GPU renders several small pictures in hardly more time than one."""
    largest = max(view.camera.width * view.camera.height for view in views)
    return 1 if device == "cpu" else max(min(MOST_VIEWS, PIXELS_AT_ONCE // largest), 1)


class _Parameters:
    """The raw, unconstrained parameters and their optimizer, whose steps are over `batch` views each."""

    def __init__(self, given: Gaussians, settings: SplattingSettings, radius: float, device: str, batch: int) -> None:
        def leaf(x: Tensor) -> Tensor:
            return x.detach().clone().requires_grad_()

        start = GaussianTensors.of(given, device)
        self.means = leaf(start.means)
        self.quats = leaf(start.quats)
        self.log_scales = leaf(start.scales.log())
        self.logits = leaf(torch.logit(start.opacities.clamp(1e-3, 1 - 1e-3)))
        self.sh0 = leaf(start.sh[:, :1])
        self.sh = leaf(start.sh[:, 1:])
        rates = [
            (self.means, settings.lr_means * radius), (self.quats, settings.lr_quats),
            (self.log_scales, settings.lr_scales), (self.sh0, settings.lr_sh0), (self.sh, settings.lr_sh),
            (self.logits, settings.lr_opacities),
        ]  # fmt: skip
        rates = [(p, rate * batch**0.5) for p, rate in rates]
        groups = [{"params": [p], "lr": rate, "start": rate} for p, rate in rates]
        betas = (1 - batch * (1 - 0.9), 1 - batch * (1 - 0.999))  # as long a memory of views as with one at a time
        self.optimizer = torch.optim.Adam(groups, betas=betas, eps=1e-15 / batch**0.5, fused=True)
        self._decay = settings.lr_decay
        self._footprint = settings.footprint

    def gaussians(self) -> GaussianTensors:
        return GaussianTensors(
            self.means, self.quats, self.log_scales.exp(), torch.sigmoid(self.logits),
            torch.cat([self.sh0, self.sh], dim=1), self._footprint,
        )  # fmt: skip

    def step(self, progress: float) -> None:
        for group in self.optimizer.param_groups:
            if group["params"][0] is not self.logits:
                group["lr"] = group["start"] * self._decay ** (-progress)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def relocate(self, pull: Tensor, dead_opacity: float, generator: torch.Generator) -> int:
        """Move dead Gaussians onto live ones, drawn by `pull` [N]; parent and child share the space."""
        dead = torch.nonzero(torch.sigmoid(self.logits) < dead_opacity)[:, 0]
        weights = pull.clone()
        weights[dead] = 0
        alive = int((weights > 0).sum())
        if len(dead) == 0 or alive == 0:
            return 0
        dead = dead[:alive]
        parents = torch.multinomial(weights.cpu(), len(dead), replacement=False, generator=generator).to(dead)
        self._divide(parents, dead, generator)
        return len(dead)

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
        for tensor in (self.means, self.quats, self.log_scales, self.logits, self.sh0, self.sh):
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


def _shrunk(view: View, scale: float) -> View:
    """The view with about `scale` times as many pixels on a side."""
    size = max(round(view.camera.width * scale), 1), max(round(view.camera.height * scale), 1)
    image = np.ascontiguousarray(cv2.resize(view.image, size, interpolation=cv2.INTER_AREA))
    mask = view.mask
    if mask is not None:
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    return replace(view, image=image, camera=view.camera.resized(*size), mask=mask)


def _of_size(
    pixels: int, views: Sequence[View], train: Sequence[TrainView], margin: int, device: str
) -> Sequence[TrainView]:
    """The views with windows shrunk to about `pixels`; as they are where they have hardly more."""
    scale = float(np.sqrt(pixels / np.median([view.pixels for view in train])))
    return [TrainView.of(_shrunk(view, scale), margin, device) for view in views] if scale < 0.8 else train


def fit_gaussians(
    start: Gaussians,
    views: tuple[View, ...],
    background: Background,
    settings: SplattingSettings,
    seconds: float,
    device: str = "cpu",
    seed: int = 0,
    title: str = "fitting Gaussians",
) -> Gaussians:
    """The Gaussians that reproduce the views, after `seconds` or `settings.steps`.

    They grow from those of `start` to `settings.gaussians` once the smallest views have been learned. The schedule
    follows whichever of the two runs out first. `views` must have poses; their masks (where known) limit what is
    rendered and add the silhouette term.
    """
    generator = torch.Generator().manual_seed(seed)
    growing, moving = True, True  # Gaussians are still to be added, and still relocated
    train = [TrainView.of(view, settings.margin, device) for view in views]
    stages = [
        (settings.first_until, _of_size(settings.first_pixels, views, train, settings.margin, device)),
        (settings.coarse_until, _of_size(settings.coarse_pixels, views, train, settings.margin, device)),
        (1.0, train),
    ]
    radius = float(np.quantile(np.linalg.norm(start.means - start.means.mean(axis=0), axis=1), 0.95))
    batch = _views_per_step(train, device)
    parameters = _Parameters(start, settings, radius, device, batch)
    colour = torch.tensor([background.rgb01], device=device)
    pull = torch.zeros(len(start), device=device)
    order: list[int] = []
    smoothed, note = torch.tensor(float("nan")), ""
    began = time.monotonic()
    with Progress(title, 1.0) as bar:
        for step in itertools.count(0, batch):  # counted in views
            share = max(step / settings.steps, (time.monotonic() - began) / seconds)
            if share >= 1:
                break
            if not order:
                order = torch.randperm(len(views), generator=generator).tolist()
            shown = next(stage for until, stage in stages if share < until)
            at_once = [shown[i] for i in order[-batch:]]
            del order[-batch:]
            degree = min(settings.sh_degree, int(share * 4 * (settings.sh_degree + 1)))
            outputs: list[Tensor] = []
            gradients: list[Tensor] = []
            losses = []
            pictures = render_together(at_once, parameters.gaussians(), colour, degree, device != "cpu")
            for view, (rgb, alpha) in zip(at_once, pictures, strict=True):
                loss, by_rgb = photometric_gradient(rgb.detach(), view.target, settings.ssim_weight)
                losses.append(loss)
                outputs.append(rgb)
                gradients.append(by_rgb / len(at_once))
                if view.silhouette is not None:
                    weight = settings.silhouette_weight / (alpha.numel() * len(at_once))
                    outputs.append(alpha)
                    gradients.append((alpha.detach() - view.silhouette).sign() * weight)
            torch.autograd.backward(outputs, gradients)
            assert parameters.means.grad is not None and parameters.logits.grad is not None
            opacities = torch.sigmoid(parameters.logits.detach())
            parameters.logits.grad += settings.opacity_weight / len(opacities) * opacities * (1 - opacities)
            if moving or growing:
                pull += torch.linalg.norm(parameters.means.grad, dim=1)
            parameters.step(share)
            loss = torch.stack(losses).mean()
            smoothed = loss if step == 0 else 0.98 * smoothed + 0.02 * loss
            due = (step + batch) % settings.relocate_every < batch
            if moving and share >= settings.relocate_until:
                moving = False
                _, coarse = stages[1]  # large views would take as long as many steps
                parameters.keep(_most_seen(parameters.gaussians(), coarse, settings.kept))
                pull = torch.zeros(len(parameters.means), device=device)
            elif growing and due and share >= settings.first_until:
                growing = False
                parameters.grow(settings.gaussians, pull, generator)
                pull = torch.zeros(len(parameters.means), device=device)
            elif moving and due:
                parameters.relocate(pull, settings.dead_opacity, generator)
                pull.zero_()
            if step % NOTED < batch:  # reading the loss waits for a GPU
                note = f"step {step}, loss {float(smoothed):.4f}"
            bar.update(share - bar.done, note)
    fitted = parameters.gaussians().arrays()
    lengths = np.linalg.norm(fitted.quats, axis=1, keepdims=True)
    fitted = replace(fitted, quats=fitted.quats / np.maximum(lengths, np.float32(1e-12)))
    return fitted.take(fitted.opacities > settings.dead_opacity)


def _most_seen(gaussians: GaussianTensors, views: Sequence[TrainView], share: float) -> Tensor:
    """Indices, in order, of the `share` of the Gaussians that fill most pixels in the view that shows most of them."""
    count, device = len(gaussians.means), gaussians.means.device
    most = torch.zeros(count, device=device)
    for view in views:
        ones = torch.ones(1, view.window[3], view.window[2], 1, device=device)
        filled = gathered(gaussians, view.viewmat, view.intrinsics, view.camera, view.window, ones)
        most = torch.maximum(most, filled[:, 0])
    return torch.sort(torch.topk(most, max(round(share * count), 1)).indices).values


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
        rgb, _ = window.render(tensors, colour)
        rgb = rgb.clamp(0, 1)
        mask = None if view.mask is None else torch.from_numpy(view.mask).to(device)
        full.append(psnr(rgb, window.target.target))
        part.append(psnr(rgb, window.target.target, mask))
        similarity.append(float(window.target.compare(rgb)[0].mean()))
    return RenderingQuality(float(np.mean(full)), float(np.mean(part)), float(np.mean(similarity)), len(views))
