"""The plots of instruction quality, each with its data beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from scripts.lib import plots
from scripts.lib.quality.estimates import rounded

# As in the paper's notebooks: texts of each set, and the perplexity.
TSNE_TEXTS, TSNE_PERPLEXITY = 100, 15
# Lengths beyond this share of the texts would leave the others no room.
SHOWN = 0.995

Styles = Mapping[str, plots.Style]


def draw_lengths(path: Path, lengths: dict[str, list[int]], looks: Styles) -> None:
    """The shares of texts of at most so many words, for each set."""
    drawn, (axes,) = plots.figure()
    rows = []
    for name, numbers in lengths.items():
        values, counts = numpy.unique(numbers, return_counts=True)
        shares = counts.cumsum() / counts.sum()
        axes.step(
            [values[0], *values], [0, *shares], where="post", label=name, **looks[name].line()
        )
        rows += [
            {"set": name, "words": int(value), "texts": int(count), "share_up_to": rounded(share)}
            for value, count, share in zip(values, counts, shares, strict=True)
        ]
    axes.set_xlim(0, max(numpy.quantile(numbers, SHOWN) for numbers in lengths.values()) + 1)
    axes.set(xlabel="words", ylabel="share of texts up to this length", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    plots.save(drawn, path, rows, "How long the instructions are")


def draw_nearest(path: Path, cosines: dict[str, dict[str, numpy.ndarray]], looks: Styles) -> None:
    """The shares of texts whose nearest text of another set is at most so near.

    `cosines` holds by the other set's name those of each set.
    """
    drawn, panels = plots.figure(max(1, len(cosines)))
    rows = []
    for axes, (other, sets) in zip(panels, cosines.items(), strict=False):
        for name, values in sets.items():
            ordered = numpy.sort(values)
            shares = numpy.arange(1, len(ordered) + 1) / max(1, len(ordered))
            axes.step(ordered, shares, where="post", label=name, **looks[name].line())
            rows += [
                {"set": name, "other": other, "cosine": rounded(at), "share_up_to": rounded(share)}
                for at, share in zip(ordered, shares, strict=True)
            ]
        axes.set(xlabel=f"cosine to the nearest text of the {other}", ylim=(0, 1.02))
        axes.set_ylabel("share of texts up to this cosine")
        axes.legend(loc="upper left")
    plots.save(drawn, path, rows, "How near the instructions are to their nearest neighbours")


def draw_duplication(path: Path, curves: dict[str, list[dict[str, int]]], looks: Styles) -> None:
    """How many of the first well-formed texts are new, for each set."""
    drawn, (axes,) = plots.figure()
    most = max((points[-1]["well_formed"] for points in curves.values()), default=0)
    axes.plot([0, most], [0, most], color="#808080", linewidth=0.8, label="if none were repeated")
    for name, points in curves.items():
        axes.plot(
            [point["well_formed"] for point in points],
            [point["new"] for point in points],
            label=name,
            **looks[name].line(),
        )
    axes.set(xlabel="well-formed texts, in the order of sampling", ylabel="new ones among them")
    axes.legend(loc="upper left")
    rows = [{"set": name, **point} for name, points in curves.items() for point in points]
    plots.save(drawn, path, rows, "How many of the first texts of a generator are new")


def tsne(vectors: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Places of vectors in the plane (van der Maaten and Hinton 2008), by the exact method."""
    from sklearn.manifold import TSNE

    perplexity = min(TSNE_PERPLEXITY, (len(vectors) - 1) / 3)
    reduction = TSNE(perplexity=perplexity, init="pca", method="exact", random_state=seed)
    return reduction.fit_transform(vectors.astype(numpy.float64))


def draw_tsne(
    path: Path, sets: dict[str, tuple[list[str], numpy.ndarray]], looks: Styles, seed: int
) -> None:
    """A t-SNE picture of the sets; each gives its texts' ids and vectors.

    Distances in it mean little: it is there beside the tests, not in place of them.
    """
    drawn, (axes,) = plots.figure(width=5.6, height=4.4)
    sets = {name: (ids[:TSNE_TEXTS], found[:TSNE_TEXTS]) for name, (ids, found) in sets.items()}
    vectors = numpy.concatenate([found for _, found in sets.values()])
    # Fewer have no neighbourhoods.
    places = tsne(vectors, seed) if len(vectors) > 9 else numpy.zeros((0, 2))
    rows: list[dict[str, Any]] = []
    start = 0
    for name, (ids, found) in sets.items():
        own = places[start : start + len(found)]
        start += len(found)
        axes.plot(own[:, 0], own[:, 1], label=name, alpha=0.75, **looks[name].points())
        rows += [
            {"set": name, "id": id_, "x": rounded(x), "y": rounded(y)}
            for id_, (x, y) in zip(ids, own.tolist(), strict=False)
        ]
    axes.set(xticks=[], yticks=[], xlabel="t-SNE of sentence embeddings")
    drawn.legend(loc="outside right upper")
    plots.save(drawn, path, rows, "Where the instructions lie among each other (t-SNE)")


def draw_distances(path: Path, sets: dict[str, dict[str, Any]], looks: Styles) -> None:
    """How far each set is from the target set, by three measures with their intervals.

    `sets` holds what `against_target` of the result holds.
    """
    panels = {
        "Wasserstein distance of lengths (words)": lambda one: one["words"]["wasserstein"],
        "maximum mean discrepancy, squared": lambda one: (one["discrepancy"] or {}).get("mmd2"),
        "accuracy of a classifier": lambda one: (one["classifier"] or {}).get("accuracy"),
    }
    drawn, axes = plots.figure(len(panels), width=3.6, height=0.32 * len(sets) + 1.1)
    rows = []
    for plot, (measure, of_set) in zip(axes, panels.items(), strict=True):
        found = {name: of_set(one) for name, one in sets.items() if of_set(one)}
        values = [one["value"] for one in found.values()]
        bounds = [tuple(one["interval"]) for one in found.values()]
        if found:
            plots.intervals(plot, list(found), values, bounds, dict(looks))
        alike = 0.5 if measure.startswith("accuracy") else 0.0
        plot.axvline(alike, color="#808080", linewidth=0.8)
        plot.set_xlabel(measure)
        rows += [
            {"set": name, "measure": measure, "value": value, "low": low, "high": high}
            for name, value, (low, high) in zip(found, values, bounds, strict=True)
        ]
    plots.save(drawn, path, rows, "How far the instructions are from the target set")
