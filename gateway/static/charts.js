// Draws each chart from the table behind it, so both show the same. Without it, the tables remain.
"use strict";

(() => {
  const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3]];
  const BORDERS = ["solid", "dashed", "dotted", "double"];
  const SPANS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800];
  // For steps of at least so many seconds: what is shown of a time, and above a new year or day.
  const DATES = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  ];
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  const span = (s) => (s < 60 ? `${s} s` : s < 3600 ? `${+(s / 60).toFixed(1)} min` : s < 86400 ? `${+(s / 3600).toFixed(1)} h` : `${+(s / 86400).toFixed(1)} d`);
  const tick = { seconds: span, share: (v) => `${+(100 * v).toFixed(1)} %` };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const utc = (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC");

  const read = (card) => {
    const table = card.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const number = (cell) => (cell.dataset.v === "" ? null : Number(cell.dataset.v));
    const columns = names.map((_, n) => rows.map((row) => number(row.cells[n + 1])));
    return { rows, names, columns, at: rows.map((row) => Number(row.dataset.at)) };
  };

  const draw = (card) => {
    const { rows, names, columns, at } = read(card);
    const box = card.querySelector(".plot");
    const isBars = names.length === 1;
    const step = Number(card.dataset.step);
    const shown = (n) => (u, v, s, i) => (i == null ? "–" : rows[i].cells[n].textContent);
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--hair"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = names.map((label, n) => ({
      label,
      stroke: () => colour(`--chart-${n + 1}`),
      width: isBars ? 0 : 2,
      dash: DASHES[n],
      value: shown(n + 1),
      points: { show: !isBars && rows.length < 40, size: 5 },
      ...(isBars && { fill: () => colour("--chart-1"), paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }) }),
    }));
    // What is partial has a ground.
    const shade = ({ ctx, bbox, valToPos }) => {
      ctx.save();
      ctx.fillStyle = colour("--hair");
      for (const { dataset } of rows.filter((row) => "partial" in row.dataset)) {
        const [left, right] = [0, step].map((more) => valToPos(Number(dataset.at) + more, "x", true));
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
      }
      ctx.restore();
    };
    const top = Math.max(0, ...columns.flat());
    return new uPlot(
      {
        width: box.clientWidth,
        height: 210,
        tzDate: utc,
        cursor: { sync: { key: "charts" }, drag: { x: false, y: false }, points: { show: !isBars }, y: false },
        scales: { x: { range: [at[0], at[at.length - 1] + step] }, y: { range: [0, (top || 1) * 1.05] } },
        legend: { markers: { dash: (u, n) => BORDERS[n - 1] } },
        axes: [
          { ...axis, space: 64, values: DATES },
          { ...axis, size: 64, values: (u, all) => all.map(tick[card.dataset.unit] || ((v) => compact.format(v))), ...(card.dataset.unit === "seconds" && { incrs: SPANS }) },
        ],
        hooks: { drawClear: [shade] },
        series: [{ label: "UTC", value: shown(0) }, ...series],
      },
      [at, ...columns],
      box,
    );
  };

  const cards = [...document.querySelectorAll(".chart")];
  let plots = [];
  const all = () => {
    for (const plot of plots) plot.destroy();
    plots = cards.map(draw);
  };
  all();
  // Colours and widths are of the moment: another scheme or width draws them again.
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) all();
    width = window.innerWidth;
  });
})();
