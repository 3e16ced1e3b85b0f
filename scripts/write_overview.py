"""Write one page that shows all that a task has so far; it loads nothing and runs no script.

    python -m scripts.write_overview --task-name mbpp --funnel results/mbpp/funnel.json \\
        --funnel-plot results/mbpp/report/funnel.svg \\
        --examples results/mbpp/report/examples.json --cost results/mbpp/report/cost.json \\
        --scores results/mbpp_eval.json --scores-plot results/mbpp/report/scores.svg \\
        --study results/mbpp_study.json --study-plot results/mbpp/report/study.svg \\
        --quality results/mbpp/quality.json --quality-plots results/mbpp/quality \\
        --study-plots results/mbpp/study/quality \\
        --output results/mbpp/report/overview.html

What there is no file for is left out, with a line that says how to make it.
"""

import time
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.files import atomic_file
from scripts.lib.report.cost_section import cost_section
from scripts.lib.report.examples import Group
from scripts.lib.report.files import content_of
from scripts.lib.report.overview import examples_section, numbers_of, overview_page, plots_in
from scripts.lib.report.quality import quality_section
from scripts.lib.report.sections import funnel_section, scores_section
from scripts.lib.report.study_section import study_section


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task-name", required=True)
    for name in ("funnel", "funnel-plot", "examples", "cost"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    files = ("scores", "scores-plot", "study", "study-plot", "quality")
    for name in (*files, "quality-plots", "study-plots"):
        # A rule names the option without a file, or a folder of plots, where there is none.
        parser.add_argument(f"--{name}", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    with content_of(arguments.funnel) as funnel:
        sections = [funnel_section(funnel, arguments.funnel_plot)]
    if arguments.quality:
        with content_of(arguments.quality) as quality:
            sections.append(quality_section(quality, plots_in(arguments.quality_plots)))
    scores = None
    if arguments.scores:
        with content_of(arguments.scores) as scores:
            sections.append(scores_section(scores, arguments.scores_plot))
    if arguments.study:
        plots = plots_in(arguments.study_plots)
        with content_of(arguments.study) as study:
            sections.append(study_section(study, arguments.study_plot, plots))
    with content_of(arguments.examples) as groups:
        sections.append(examples_section([Group(**group) for group in groups]))
    with content_of(arguments.cost) as cost:
        sections.append(cost_section(cost))
    numbers = numbers_of(funnel, cost, scores)
    with atomic_file(arguments.output) as stream:
        stream.write(overview_page(arguments.task_name, numbers, sections))
    counts("write_overview", time.monotonic() - started, sections=len(sections))


if __name__ == "__main__":
    run_step(main)
