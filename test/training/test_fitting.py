"""From posed views and their map to Gaussians."""

import pytest
from splat_scenes import WHITE, box, photographs_of

from pad_ros.methods.presets import load_method
from pad_ros.training import splatting
from pad_ros.training.fitting import Fit, Job, fit_to_all
from pad_ros.training.splatting import RenderingQuality

METHOD = load_method("pad", ["splatting.steps=20", "splatting.gaussians=400", "splatting.sh_degree=0"])


@pytest.mark.parametrize(("share", "taken"), [(1.0, 20), (0.3, 6)])
def test_a_fit_takes_its_share_of_the_steps(monkeypatch, share, taken):
    """Of few views two fits share what one of all views takes."""
    views = photographs_of(box(600), 4)
    whole = Fit(box(300), RenderingQuality(0, 0, 0, 0), views, views, (), views, WHITE, None)
    steps = []
    step = splatting._Fit.step
    monkeypatch.setattr(splatting._Fit, "step", lambda fit, done: steps.append(done) or step(fit, done))
    fit_to_all(whole, Job(METHOD, 1e9, "cpu", 0, share))
    assert len(steps) == taken and steps[-1] == pytest.approx(1 - 1 / taken)
