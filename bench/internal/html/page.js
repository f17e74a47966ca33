// Draws the charts that the page's JSON describes. Everything that a reader needs is in the page without it.
"use strict";
(() => {
  const root = document.documentElement;
  // The first thing that goes wrong stays in data-error, for whoever checks the page.
  const failed = (what) => { if (!root.dataset.error) root.dataset.error = String(what); };
  addEventListener("error", (e) => failed(e.message));
  addEventListener("unhandledrejection", (e) => failed(e.reason));

  const charts = JSON.parse(document.getElementById("charts").textContent) || [];
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Figures as the tables write them: three digits, or whole with commas from 1000 on.
  const num = (v) => {
    const a = Math.abs(v);
    if (a >= 999.5) return Math.round(v).toLocaleString("en-US");
    if (a === Math.trunc(a)) return String(v);
    return a >= 0.001 ? v.toPrecision(3) : v.toExponential(1);
  };
  const size = (v) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let u = 0;
    while (Math.abs(v) >= 1024 && u < units.length - 1) { v /= 1024; u++; }
    return +v.toFixed(1) + " " + units[u];
  };
  const mean = (y) => { const all = y.filter((v) => v != null); return all.length ? all.reduce((a, b) => a + b) / all.length : null; };
  const binary = Array.from({ length: 50 }, (_, i) => 2 ** i); // steps of an axis of bytes
  const show = (v, unit) => v == null ? "–" : unit === "bytes" ? size(v) : num(v) + (unit ? " " + unit : "");
  const tick = (v, unit) => { // short: the axis has little room
    if (v == null) return "";
    if (unit === "bytes") return size(v);
    const a = Math.abs(v);
    return a >= 1e6 ? +(v / 1e6).toFixed(2) + " M" : a >= 1e4 ? +(v / 1e3).toFixed(1) + " k" : String(+v.toPrecision(4));
  };
  const percentile = (x) => +(100 - 100 / x).toFixed(Math.max(0, Math.round(Math.log10(x)) - 1)) + " %";
  const whole = (x) => Math.abs(Math.log10(x) - Math.round(Math.log10(x))) < 1e-9;

  // Long runs are in minutes and hours.
  const long = (c) => c.x_kind === "s" && c.x.length > 0 && c.x[c.x.length - 1] > 600;
  const spans = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
  const clock = (s) => {
    const two = (v) => String(v).padStart(2, "0"), h = Math.floor(s / 3600), m = Math.floor(s % 3600 / 60), rest = Math.round(s % 60);
    if (h > 0) return h + ":" + two(m) + " h";
    return rest ? m + ":" + two(rest) + " min" : m + " min";
  };

  const dashes = { solid: [], dashed: [7, 4], dotted: [2, 3] };

  // The x axis of each kind.
  const xScale = (c) => ({
    s: { time: false, range: (u, a, b) => [Math.min(a, 0), b > 0 ? b : 1] },
    rarity: { time: false, distr: 3, log: 10, range: (u, a, b) => [1, Math.max(b, 10)] },
    names: { time: false, range: [-0.5, c.x.length - 0.5] },
  })[c.x_kind];
  const xLabel = (c, x) => x == null ? (c.x_kind === "s" ? "mean" : "–") : { s: () => long(c) ? clock(x) : num(x) + " s", rarity: () => (100 - 100 / x).toFixed(Math.max(1, Math.ceil(Math.log10(x)))) + " %", names: () => c.x_names[Math.round(x)] }[c.x_kind]();
  const xAxis = (c, axis, width) => {
    if (c.x_kind === "s") return { ...axis, ...(long(c) ? { incrs: spans, space: 70 } : {}), values: (u, s) => s.map((v) => long(c) ? clock(v) : v + " s") };
    if (c.x_kind === "rarity") return { ...axis, splits: (u) => decades(u.scales.x.max).filter((x, i, all) => all.length * 62 < width || i % 2 === 0), filter: (u, s) => s, values: (u, s) => s.map(percentile) };
    const crowded = c.x_names.some((n) => n.length * 7.5 > (width - 60) / c.x.length);
    const longest = Math.max(...c.x_names.map((n) => n.length));
    return { ...axis, splits: () => c.x, values: () => c.x_names, grid: { show: false }, ...(crowded ? { rotate: -40, size: Math.min(110, 26 + longest * 4.6) } : { size: 30 }) };
  };
  const decades = (max) => { const out = []; for (let x = 1; x <= max * 1.0001; x *= 10) out.push(x); return out; };

  // The y axis begins at 0, or has whole decades.
  const yScale = (c) => {
    const top = Math.max(0, ...(c.band || []), ...c.lines.flatMap((l) => (l.high || []).filter((v) => v != null)));
    if (c.log) return { distr: 3, log: 10, range: (u, a, b) => uPlot.rangeLog(a || 0.1, b || 1, 10, true) };
    return { range: (u, a, b) => [0, Math.max(b, top) * 1.12 || 1] };
  };

  // whiskers draws the spread of each point of a line that has one.
  const whiskers = (c) => (u) => {
    const px = devicePixelRatio, ctx = u.ctx;
    ctx.save();
    ctx.lineWidth = 1.5 * px;
    for (const l of c.lines) {
      if (!l.low) continue;
      ctx.strokeStyle = css("--c" + l.color);
      ctx.beginPath();
      c.x.forEach((x, i) => {
        if (l.low[i] == null || l.high[i] == null) return;
        const at = u.valToPos(x, "x", true), low = u.valToPos(l.low[i], "y", true), high = u.valToPos(l.high[i], "y", true);
        ctx.moveTo(at, low); ctx.lineTo(at, high);
        for (const y of [low, high]) { ctx.moveTo(at - 4 * px, y); ctx.lineTo(at + 4 * px, y); }
      });
      ctx.stroke();
    }
    ctx.restore();
  };

  // behind draws what the lines are to lie on: the band, and the moments that are marked.
  const behind = (c) => (u) => {
    const px = devicePixelRatio, ctx = u.ctx, { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    if (c.band) {
      const high = u.valToPos(c.band[1], "y", true);
      ctx.fillStyle = css("--track");
      ctx.fillRect(left, high, width, u.valToPos(c.band[0], "y", true) - high);
    }
    ctx.strokeStyle = ctx.fillStyle = css("--quiet");
    ctx.font = 10 * px + "px " + getComputedStyle(document.body).fontFamily;
    ctx.lineWidth = px;
    ctx.setLineDash([4 * px, 3 * px]);
    for (const m of c.marks || []) {
      const at = u.valToPos(m.at, "x", true), room = left + width - at > ctx.measureText(m.name).width + 8 * px;
      ctx.textAlign = room ? "left" : "right";
      ctx.beginPath();
      ctx.moveTo(at, top);
      ctx.lineTo(at, top + height);
      ctx.stroke();
      ctx.fillText(m.name, at + (room ? 4 : -4) * px, top + height - 5 * px);
    }
    ctx.restore();
  };

  const options = (c, width, done) => {
    const font = "11.5px " + getComputedStyle(document.body).fontFamily;
    const axis = { stroke: css("--quiet"), font, grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1, size: 4 }, gap: 4 };
    const few = c.x_kind === "names" || c.x.length < 3;
    return {
      width, height: c.x_kind === "names" ? 230 : 210,
      padding: [10, 18, 0, 0],
      cursor: { y: false, drag: { x: c.x_kind === "s", y: false }, ...(c.sync ? { sync: { key: c.sync } } : {}) },
      scales: { x: xScale(c), y: yScale(c) },
      axes: [
        { ...xAxis(c, axis, width), ...(c.x_kind === "names" ? {} : { size: 30 }) },
        { ...axis, ...(c.unit === "bytes" ? { incrs: binary } : {}), size: (u, v) => 14 + 6.6 * Math.max(2, ...(v || []).map((s) => (s || "").length)), values: (u, s) => s.map((v) => v == null || (c.log && !whole(v)) ? "" : tick(v, c.unit)) },
      ],
      series: [
        { label: { s: "at", rarity: "percentile", names: "value" }[c.x_kind], value: (u, x) => xLabel(c, x) },
        ...c.lines.map((l) => ({
          label: l.name, stroke: css("--c" + l.color), width: 2, dash: dashes[l.style], value: (u, v, s, i) => show(i == null && c.x_kind === "s" ? mean(l.y) : v, c.unit),
          points: { show: few, size: 8, fill: css("--c" + l.color) }, spanGaps: false,
        })),
      ],
      hooks: { drawAxes: [behind(c)], draw: [whiskers(c), done] },
    };
  };

  let plots = [];
  const drawAll = () => {
    plots.forEach((p) => p.plot.destroy());
    plots = [];
    for (const c of charts) {
      const box = document.querySelector(`[data-chart="${c.id}"] .plot`);
      if (!box) continue;
      try {
        const plot = new uPlot(options(c, box.clientWidth, () => { box.dataset.drawn = c.lines.length; }), [c.x, ...c.lines.map((l) => l.y)], box);
        plots.push({ plot, box, c });
      } catch (e) {
        failed(c.title + ": " + e);
        const p = document.createElement("p");
        p.textContent = "This chart could not be drawn. " + box.getAttribute("aria-label");
        box.replaceChildren(p);
      }
    }
  };

  // The arrow keys move along a chart that has the focus.
  addEventListener("keydown", (e) => {
    const p = plots.find((q) => q.box === document.activeElement);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!p || !step) return;
    const last = p.c.x.length - 1, idx = p.plot.cursor.idx;
    const next = idx == null ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, idx + step));
    p.plot.setCursor({ left: p.plot.valToPos(p.c.x[next], "x"), top: 10 }, true, true); // and with it those that have their cursor in common
    e.preventDefault();
  });

  // Themes: that of the system, or the one the reader has chosen for this page.
  const button = document.getElementById("theme"), themes = ["auto", "light", "dark"];
  const setTheme = (t) => {
    if (t === "auto") delete root.dataset.theme; else root.dataset.theme = t;
    button.textContent = "theme: " + t;
    drawAll();
  };
  button.hidden = false;
  button.addEventListener("click", () => setTheme(themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);

  setTheme("auto");
  new ResizeObserver(() => plots.forEach(({ plot, box }) => {
    if (box.clientWidth > 0 && box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: plot.height });
  })).observe(document.body);
  root.dataset.charts = charts.length;
})();
