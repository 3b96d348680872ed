"""A picture as a page: the SVG, with search, moving by mouse, finger or keys, and the statement behind a line. Pure.

The page needs nothing from elsewhere, and its policy lets it load nothing. Names come into it as text alone.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

from trustbind.graph.model import Graph
from trustbind.graph.svg import to_svg

__all__ = ["to_page"]

_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--bar:#f6f8fa;--rim:#d0d7de}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--bar:#161b22;--rim:#30363d}}
*{box-sizing:border-box}body{margin:0;height:100vh;display:flex;flex-direction:column;background:var(--paper);
color:var(--ink);font:14px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header{display:flex;flex-wrap:wrap;gap:8px;align-items:center;padding:8px 12px;background:var(--bar);
border-bottom:1px solid var(--rim)}
h1{font-size:15px;margin:0 auto 0 0}input,button{font:inherit;padding:6px 10px;border:1px solid var(--rim);
border-radius:6px;background:var(--paper);color:inherit}input{width:min(260px,50vw)}
main{flex:1;min-height:0;display:flex}#picture{flex:1;min-width:0;overflow:hidden;touch-action:none;cursor:grab}
#picture svg{width:100%;height:100%;display:block}.node{cursor:pointer}
.dim .node:not(.hit),.dim .line:not(.hit){opacity:.12}.line.hit{stroke-width:2.4}.node:focus{outline:2px solid}
aside{width:min(420px,100vw);overflow:auto;padding:12px;border-left:1px solid var(--rim);background:var(--bar)}
aside[hidden]{display:none}aside h2{font-size:14px;overflow-wrap:anywhere;margin:0 0 8px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--paper);border:1px solid var(--rim);border-radius:6px;
padding:8px;font-size:12px}
@media (max-width:700px){main{flex-direction:column}aside{width:100%;max-height:45%;border-left:0;
border-top:1px solid var(--rim)}}
"""

_SCRIPT: Final = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const picture = document.getElementById("picture"), svg = picture.querySelector("svg");
const search = document.getElementById("search"), found = document.getElementById("found");
const aside = document.querySelector("aside");
const nodes = [...svg.querySelectorAll(".node")], lines = [...svg.querySelectorAll(".line")];
const whole = svg.viewBox.baseVal, size = {width: whole.width, height: whole.height};
let view = {x: 0, y: 0, width: size.width, height: size.height};

function show() { svg.setAttribute("viewBox", [view.x, view.y, view.width, view.height].join(" ")); }
function fit() { view = {x: 0, y: 0, width: size.width, height: size.height}; show(); }
function zoom(factor, x, y) {
  const width = Math.min(Math.max(view.width * factor, 120), size.width * 4);
  const by = width / view.width;
  view = {x: x - (x - view.x) * by, y: y - (y - view.y) * by, width: width, height: view.height * by};
  show();
}
function at(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.x, point.y];
}
function middle() { return [view.x + view.width / 2, view.y + view.height / 2]; }

function light(picked) {
  svg.classList.toggle("dim", picked !== null);
  nodes.forEach((node, number) => node.classList.toggle("hit", picked !== null && picked.nodes.has(number)));
  lines.forEach((line, number) => line.classList.toggle("hit", picked !== null && picked.lines.has(number)));
}
function ways(start) {
  const picked = {nodes: new Set([start]), lines: new Set()};
  for (const [near, far] of [["from", "to"], ["to", "from"]]) {
    const waiting = [start], seen = new Set([start]);
    while (waiting.length) {
      const here = waiting.pop();
      data.edges.forEach((edge, number) => {
        if (edge[near] !== here) return;
        picked.lines.add(number);
        picked.nodes.add(edge[far]);
        if (!seen.has(edge[far])) { seen.add(edge[far]); waiting.push(edge[far]); }
      });
    }
  }
  return picked;
}
function add(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  aside.append(element);
}
function tell(number) {
  const node = data.nodes[number];
  aside.replaceChildren();
  add("h2", node.full);
  if (node.members.length) add("p", node.members.join(", "));
  for (const edge of data.edges) {
    if (edge.from !== number && edge.to !== number) continue;
    const other = data.nodes[edge.from === number ? edge.to : edge.from];
    add("h2", (edge.from === number ? "can assume " : "can be assumed by ") + other.full);
    for (const reason of edge.reasons) {
      add("p", [reason.principal, reason.mechanism, reason.verdict].join(" \\u00b7 "));
      reason.conditions.forEach((condition) => add("p", condition));
      if (reason.statement) add("pre", reason.statement);
    }
  }
  aside.hidden = false;
}
function pick(number) { search.value = ""; found.textContent = ""; light(ways(number)); tell(number); }
function clear() { search.value = ""; found.textContent = ""; aside.hidden = true; light(null); }

nodes.forEach((node, number) => {
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "button");
  node.addEventListener("click", (event) => { if (!moved) { event.stopPropagation(); pick(number); } });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(number); }
  });
});
search.addEventListener("input", () => {
  const text = search.value.trim().toLowerCase();
  aside.hidden = true;
  if (!text) { found.textContent = ""; light(null); return; }
  const hits = data.nodes.flatMap((node, number) =>
    [node.full, node.detail, ...node.members].join(" ").toLowerCase().includes(text) ? [number] : []);
  found.textContent = hits.length + " found";
  const picked = {nodes: new Set(hits), lines: new Set()};
  data.edges.forEach((edge, number) => {
    if (picked.nodes.has(edge.from) && picked.nodes.has(edge.to)) picked.lines.add(number);
  });
  light(picked);
  if (hits.length) {
    const box = nodes[hits[0]].getBBox();
    view.x = box.x + box.width / 2 - view.width / 2;
    view.y = box.y + box.height / 2 - view.height / 2;
    show();
  }
});
let start = null, moved = false;
picture.addEventListener("pointerdown", (event) => {
  start = {x: event.clientX, y: event.clientY, view: {...view}};
  moved = false;
});
window.addEventListener("pointermove", (event) => {
  if (start === null) return;
  const scale = 1 / svg.getScreenCTM().a;
  const dx = event.clientX - start.x, dy = event.clientY - start.y;
  if (Math.abs(dx) + Math.abs(dy) > 4) moved = true;
  if (moved) { view.x = start.view.x - dx * scale; view.y = start.view.y - dy * scale; show(); }
});
window.addEventListener("pointerup", () => { start = null; });
picture.addEventListener("click", () => { if (!moved) clear(); });
picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, ...at(event));
}, {passive: false});
document.getElementById("closer").addEventListener("click", () => zoom(1 / 1.3, ...middle()));
document.getElementById("farther").addEventListener("click", () => zoom(1.3, ...middle()));
document.getElementById("whole").addEventListener("click", fit);
window.addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
  if (event.target === search) return;
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (steps) { view.x += steps[0] * view.width / 8; view.y += steps[1] * view.height / 8; show(); }
  if (event.key === "+") zoom(1 / 1.3, ...middle());
  if (event.key === "-") zoom(1.3, ...middle());
});
const box = picture.getBoundingClientRect();
if (Math.min(box.width / size.width, box.height / size.height) < 0.6) {  // fitted, nothing could be read
  view = {x: 0, y: 0, width: box.width / 0.8, height: box.height / 0.8};
  show();
}
document.documentElement.dataset.ready = "true";
"""


def to_page(graph: Graph, title: str) -> str:
    """Return one HTML document.

    Args:
        graph: the picture.
        title: of the page.
    """
    data = json.dumps(_data(graph)).replace("<", "\\u003c")  # nothing in it can end the element that it stands in
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<span id="found" role="status"></span>
<input id="search" type="search" placeholder="Search" aria-label="Search names">
<button id="closer" type="button" aria-label="Zoom in">+</button>
<button id="farther" type="button" aria-label="Zoom out">&minus;</button>
<button id="whole" type="button">Fit</button>
</header>
<main>
<div id="picture">
{to_svg(graph)}</div>
<aside hidden aria-live="polite"></aside>
</main>
<script type="application/json" id="data">{data}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _data(graph: Graph) -> dict[str, Any]:
    numbers = {node.key: number for number, node in enumerate(graph.nodes)}
    return {
        "nodes": [{"full": n.full, "detail": n.detail, "members": list(n.members)} for n in graph.nodes],
        "edges": [
            {
                "from": numbers[edge.source],
                "to": numbers[edge.target],
                "reasons": [
                    {
                        "principal": reason.principal,
                        "mechanism": reason.mechanism,
                        "verdict": reason.verdict.value,
                        "conditions": list(reason.conditions),
                        "statement": reason.statement,
                    }
                    for reason in edge.reasons
                ],
            }
            for edge in graph.edges
        ],
    }
