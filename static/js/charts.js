/* Draws the figures of a page with Plotly in the colours of the theme. The page itself carries the conclusion in
   words and the numbers as a table; a figure says for each trace what it is (meta.role), never its colour.
   Roles: actual, target, previous, band, s1..s6. Plotly is fetched when the first figure comes near the screen. */
(() => {
  "use strict";
  const source = document.currentScript.dataset.plotly;
  const probe = document.createElement("i");
  probe.hidden = true;
  document.documentElement.append(probe);
  const colour = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const fade = (c, a) => c.replace(/^rgba?\(([^)]+)\)$/, (_, v) => `rgba(${v.split(/[ ,]+/).slice(0, 3).join(",")},${a})`);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const trace = (t, place) => {
    const role = t.meta?.role || (t.name === "Target" ? "target" : place ? `s${place + 1}` : "actual");
    const c = colour({ actual: "c1", target: "text-2", previous: "cp", band: "c1", s1: "c1", s2: "c2", s3: "c3", s4: "c4", s5: "c5", s6: "c6", bad: "bad", warn: "warn", good: "good" }[role] || "c1");
    const dash = { target: "dot", previous: "dash", s2: "dash", s3: "dot", s4: "dashdot", s5: "longdash" }[role] || "solid";
    if (t.type === "bar") t.marker = { color: role === "previous" ? fade(c, .55) : c, cornerradius: 2, line: { width: 0 } };
    else if (role === "band") { t.line = { width: 0 }; t.fillcolor = fade(c, .08); t.hoverinfo = "skip"; }
    else {
      t.line = { ...t.line, color: c, width: role === "actual" || role === "s1" ? 2 : 1.5, dash };
      if (role === "actual") { t.fill = "tozeroy"; if (t.x.length > 32) t.mode = "lines"; }
      if (t.fill) t.fillcolor = fade(c, .07);
      if (t.mode?.includes("markers")) t.marker = { ...t.marker, color: c, size: 6 };
    }
    if (t.textposition) t.textfont = { color: c, size: 11 };
    return t;
  };
  const dress = (fig, width) => {
    const [text, line, raised, strong] = ["text-2", "line", "raised", "line-2"].map(colour);
    const axis = { gridcolor: line, linecolor: strong, zerolinecolor: line, tickfont: { color: text, size: 11 }, automargin: true, fixedrange: true, ticks: "" };
    const l = fig.layout || {};
    return {
      data: fig.data.map((t, place) => trace({ ...t }, place)),
      layout: {
        ...l, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 14, t: 10, b: 8, ...l.margin }, bargap: .32,
        font: { family: "Inter, system-ui, sans-serif", size: 11, color: text }, hovermode: l.hovermode || "x unified",
        hoverlabel: { bgcolor: raised, bordercolor: strong, font: { color: colour("text"), size: 12 } },
        showlegend: l.showlegend ?? (fig.data.length > 1 && width > 380), legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
        xaxis: { ...axis, gridcolor: "rgba(0,0,0,0)", tickangle: 0, nticks: Math.max(3, Math.floor(width / 90)), ...l.xaxis }, yaxis: { ...axis, rangemode: "tozero", nticks: 5, ...l.yaxis }, dragmode: false,
        shapes: (l.shapes || []).map(s => ({ ...s, line: { color: text, width: 1.2, dash: "dot" } })),
        annotations: (l.annotations || []).map(a => ({ showarrow: false, bgcolor: fade(colour("surface"), .82), borderpad: 1, ...a, font: { color: text, size: 11 } }))
      }
    };
  };
  let loading;
  const plotly = () => loading ||= new Promise((ok, no) => {
    /* The bundle brings a style sheet for its maps, which the policy would refuse with a report: keep it out. */
    const head = document.head, add = head.appendChild;
    head.appendChild = node => node.tagName === "STYLE" && node.textContent ? node : add.call(head, node);
    const s = document.createElement("script");
    s.src = source; s.onerror = no;
    s.onload = () => { delete head.appendChild; ok(window.Plotly); };
    head.append(s);
  });
  const draw = async el => {
    const raw = document.getElementById(el.dataset.figure);
    if (!raw) return;
    const lib = await plotly(), fig = dress(JSON.parse(raw.textContent), el.clientWidth);
    await lib.react(el, fig.data, fig.layout, { displayModeBar: false, responsive: true, staticPlot: false, doubleClick: false, locale: "en", ...(still ? { transition: 0 } : {}) });
    if (!el.dataset.ready) {
      el.dataset.ready = "1";
      el.on("plotly_click", e => { const url = e.points[0].customdata; if (typeof url === "string" && url.startsWith("/")) location.assign(url); });
    }
  };
  const near = new IntersectionObserver(all => all.forEach(e => { if (e.isIntersecting) { near.unobserve(e.target); draw(e.target); } }), { rootMargin: "240px" });
  const find = root => (root || document).querySelectorAll("[data-figure]:not([data-ready])").forEach(el => near.observe(el));
  const again = () => document.querySelectorAll("[data-figure][data-ready]").forEach(draw);
  new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.addEventListener("ops:drawn", e => find(e.detail));
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", () => find()) : find();
})();
