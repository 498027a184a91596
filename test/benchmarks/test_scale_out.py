"""The arithmetic of docs/many_parts.md against the simulation."""

import pytest
from benchmark_modules import benchmark

scale_out = benchmark("scale_out")


@pytest.mark.parametrize(
    "changed",
    [{}, {"machines": 1, "parts": 20}, {"machines": 7}, {"store": 12.5}, {"read_mb": 1000.0}, {"parts": 50}],
)
def test_the_simulation_lies_within_the_bounds(changed):
    plant = scale_out.Plant(**changed)
    least, most = plant.bounds()
    seconds, rate = scale_out.simulated(plant)
    assert 0.97 * least <= seconds <= most  # .97: the mean of the drawn times is not exactly the plant's
    assert rate == pytest.approx(plant.parts * (plant.read_mb + plant.written_mb) / seconds)


def test_without_chance_and_transfers_it_is_exact():
    plant = scale_out.Plant(deviation=0.0, read_mb=0.0, written_mb=0.0)
    assert scale_out.simulated(plant)[0] == pytest.approx(60 + 10 * 421)


def test_transfers_share_the_store():
    plant = scale_out.Plant(parts=10, machines=10, seconds=0.0, overhead=0.0, start=0.0, store=10.0, read_mb=10.0,
                            written_mb=0.0)  # fmt: skip
    assert scale_out.simulated(plant)[0] == pytest.approx(10.0)
