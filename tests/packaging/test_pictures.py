"""Every plot has a picture in the documentation, and no picture is heavy."""

from pathlib import Path

import pytest

from cellkin.client import pl

PICTURES = Path(__file__).parents[2] / "docs/pictures"
MOST_BYTES = 150_000


@pytest.mark.parametrize("name", pl.__all__)
def test_every_plot_has_a_picture(name: str) -> None:
    assert list(PICTURES.glob(f"pl-{name.replace('_', '-')}*.png"))


def test_pictures_are_light() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}
