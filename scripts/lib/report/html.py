"""Pages of HTML that show what models wrote and can do nothing: no scripts, nothing is loaded.

Every text is escaped, unless it is `Html`, which only this package makes. What a reader could not
see, or what would change the order of what he sees, is spelled out.
"""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# What programs read in a plot's file, and a page has no use for.
_METADATA = re.compile("<metadata>.*?</metadata>", re.DOTALL)

# Control characters but tab and line feed, what turns the direction of text, what has no width,
# and halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)

# A number as it stands in a table, or none.
_NUMBER = re.compile("[-+$≤< \u2212\u2013]*[0-9.,]*( %)?")

# The browser itself refuses whatever is not in the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d0d7de; --wash: #f6f8fa; }
* { box-sizing: border-box; }
body { margin: 0; background: white; color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 24px 28px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 6px; }
p { margin: 6px 0 10px; max-width: 76ch; }
a { color: #0550ae; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0; }
.soft, figcaption, caption { color: var(--soft); font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(176px, 1fr)); gap: 12px;
  margin: 18px 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 21px; line-height: 1.3; font-weight: 600;
  white-space: nowrap; }
.card span { display: block; color: var(--soft); font-size: 13px; }
figure { margin: 14px 0; }
figure svg { max-width: 100%; height: auto; }
.plots { display: flex; flex-wrap: wrap; gap: 0 24px; align-items: flex-end; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0 16px; font-size: 14px; }
caption { caption-side: bottom; text-align: left; padding-top: 6px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
  padding-left: 12px; }
pre { margin: 4px 0; padding: 8px 10px; background: var(--wash); border-radius: 6px;
  font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
td.id { color: var(--soft); font-size: 12px; white-space: nowrap; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0; padding: 6px 12px; }
summary { cursor: pointer; }
.note { border-left: 3px solid #D55E00; padding-left: 12px; }
@media print {
  main { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  figure, .card, tr { break-inside: avoid; } nav { display: none; }
}
"""


class Html(str):
    """Text that is HTML already; what is added to it is escaped, unless it is as well."""

    __slots__ = ()

    def __add__(self, other: str) -> "Html":
        return Html(str.__add__(self, escape(other)))


def clean(text: str) -> str:
    """A text whose unseen characters are spelled out, as `\\u202e`."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\r\n", "\n"))


def escape(value: object) -> Html:
    """A value as it may stand in a page."""
    return value if isinstance(value, Html) else Html(html.escape(clean(str(value))))


def join(parts: Iterable[object]) -> Html:
    """The parts, one a line, each escaped unless it is HTML."""
    return Html("\n".join(escape(part) for part in parts))


def element(tag: str, content: object, **attributes: str) -> Html:
    """An element; of an attribute's name the underscore at the end is left out (`class_`)."""
    given = "".join(
        f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items() if value
    )
    return Html(f"<{tag}{given}>{escape(content)}</{tag}>")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table. Columns of numbers stand at the right; the one of the heading `id` does not wrap."""
    rows = [list(row) for row in rows]
    at_right = [
        bool(rows) and all(_is_number(row[column]) for row in rows)
        for column in range(len(headings))
    ]

    def line(tag: str, cells: Sequence[object]) -> Html:
        kinds = [
            "number" if right else "id" if heading == "id" and tag == "td" else ""
            for heading, right in zip(headings, at_right, strict=True)
        ]
        written = (element(tag, cell, class_=kind) for cell, kind in zip(cells, kinds, strict=True))
        return Html(f"<tr>{''.join(written)}</tr>")

    body = join(line("td", row) for row in rows)
    under = element("caption", caption) if caption else Html()
    head = element("thead", line("th", headings))
    return element("div", element("table", under + head + element("tbody", body)), class_="scroll")


def _is_number(cell: object) -> bool:
    """Whether a cell is a number, with its sign and unit, or is empty."""
    return not isinstance(cell, Html) and _NUMBER.fullmatch(str(cell)) is not None


def cards(numbers: Iterable[tuple[object, str]]) -> Html:
    """A few numbers in large print, each with what it is."""
    return element(
        "div",
        join(
            element("div", element("b", value) + element("span", name), class_="card")
            for value, name in numbers
        ),
        class_="cards",
    )


def figure(svg: Path, caption: str) -> Html:
    """A plot of ours in the page itself, so that its words can be searched for."""
    content = svg.read_text(encoding="utf-8")
    drawing = Html(_METADATA.sub("", content[content.index("<svg") :]).rstrip())
    return element("figure", drawing + element("figcaption", caption))


def page(title: str, body: object) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{escape(body)}\n</main>\n</body>\n</html>\n"
    )
