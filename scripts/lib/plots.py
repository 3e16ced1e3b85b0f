"""The one style of all plots: SVG files that repeat byte for byte, and their data beside them.

Series differ in colour (Okabe and Ito's set, which colour-blind readers can tell apart) *and* in
marker, dash or hatch, so that a print in black and white still reads. Words stay words in the SVG:
they can be searched for and copied. Each plot's data lie beside it, as a CSV file of its name.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches of one plot; a figure of several is as many times as wide.
WIDTH, HEIGHT = 4.8, 3.4
# Points.
TEXT, SMALL = 10, 9

_SETTINGS = {
    "svg.fonttype": "none",
    # Without it, the ids in a file are drawn by chance.
    "svg.hashsalt": "plots",
    "font.family": "sans-serif",
    # It comes with matplotlib, so the layout is the same wherever the file is made.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    # Names hold dollar signs and underscores that mean themselves.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Style:
    """How a series looks: `dash` for its line, `marker` for its points, `hatch` for its areas."""

    colour: str
    marker: str
    dash: Any
    hatch: str

    def line(self) -> dict[str, Any]:
        """Arguments of `Axes.plot` and `Axes.step` for a line."""
        return {"color": self.colour, "linestyle": self.dash}

    def points(self) -> dict[str, Any]:
        """Arguments of `Axes.plot` for points without a line; `Axes.scatter` takes them as well
        but `linestyle`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}

    def area(self) -> dict[str, Any]:
        """Arguments of `Axes.bar`, `Axes.barh` and `Axes.fill_between` for a filled area."""
        return {"facecolor": self.colour, "edgecolor": "white", "hatch": self.hatch}


# Okabe and Ito's colours without their yellow, which a print on white paper loses.
STYLES = (
    Style("#0072B2", "o", "solid", ""),
    Style("#D55E00", "s", (0, (5, 2)), "///"),
    Style("#009E73", "^", (0, (1, 1.4)), "..."),
    Style("#CC79A7", "D", (0, (5, 1.5, 1, 1.5)), "xxx"),
    Style("#E69F00", "v", (0, (8, 2)), "\\\\\\"),
    Style("#56B4E9", "P", (0, (3, 1, 1, 1, 1, 1)), "++"),
    Style("#000000", "X", (0, (1, 3)), "oo"),
)


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name, by their order: the same names look the same in all figures.

    Raises `ValueError` for more names than a reader could tell apart.
    """
    names = list(names)
    if len(names) > len(STYLES):
        raise ValueError(f"{len(names)} series are more than {len(STYLES)} styles tell apart")
    return dict(zip(names, STYLES, strict=False))


def figure(
    columns: int = 1, rows: int = 1, width: float = WIDTH, height: float = HEIGHT
) -> tuple["Figure", list["Axes"]]:
    """A figure in the project's style and its axes, row by row.

    `width` and `height` are inches of one plot. The style holds for the rest of the process.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(_SETTINGS)
    drawn = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return drawn, list(drawn.subplots(rows, columns, squeeze=False).flat)


def intervals(
    axes: "Axes",
    names: Sequence[str],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    looks: dict[str, Style] | None = None,
) -> None:
    """Draw one value with its interval for each name, from the top down."""
    looks = looks or dict.fromkeys(names, STYLES[0])
    for row, (name, value, (low, high)) in enumerate(zip(names, values, bounds, strict=True)):
        axes.plot([low, high], [row, row], color=looks[name].colour, solid_capstyle="butt")
        axes.plot([value], [row], **looks[name].points())
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def save(figure: "Figure", path: str | Path, rows: Iterable[dict[str, Any]], title: str) -> None:
    """Write a figure as SVG, and its data as a CSV file beside it, of the same name.

    `title` is what the plot shows, for those who cannot see it. `rows` are written with the columns
    of the first; the same figure gives the same bytes. Both files are complete or absent.
    """
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    save_table(Path(path).with_suffix(".csv"), rows)
    with atomic_file(path) as stream:
        # Trailing spaces are matplotlib's, not ours.
        stream.writelines(f"{line.rstrip()}\n" for line in drawn.getvalue().splitlines())


def save_table(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV with the columns of the first one."""
    rows = list(rows)
    with atomic_file(path) as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
