"use strict";
// Line charts over training steps, drawn by uPlot, with the figures' colours (Okabe and Ito's, and lighter ones on dark).
(function () {
  const h = MentorKit.h;
  const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#882255"];
  const DARK = ["#56B4E9", "#FF8A3D", "#2EC79C", "#E3A1C6", "#F0C04A", "#4A9BD4", "#B5B5B5", "#D0789C"];
  const HEIGHT = 190;
  let drawn = [];

  MentorKit.colours = () => (MentorKit.dark() ? DARK : LIGHT);

  /** Forget the charts that were drawn before. */
  MentorKit.dropCharts = function () {
    for (const [chart, observer] of drawn) {
      observer.disconnect();
      chart.destroy();
    }
    drawn = [];
  };

  /**
   * A chart in a card: {title, about, x, lines, percent, pick}.
   * x: sorted numbers; a line: {label, values, low, high, colour, dash, points}, all as long as x, null where unknown;
   * percent: whether values are shares; pick: called with the place in x of a click.
   */
  MentorKit.chart = function (root, options) {
    const lines = options.lines.filter((line) => line.values.some((value) => value !== null && value !== undefined));
    if (!lines.length || !options.x.length) return;
    const palette = MentorKit.colours();
    lines.forEach((line, place) => { line.stroke = palette[(line.colour ?? place) % palette.length]; });
    const values = lines.map(() => h("b", {}));
    const at = h("span", { class: "at" });
    const plot = h("div", { class: "plot" });
    const legend = h("div", { class: "legend" }, lines.map((line, place) =>
      h("span", { class: "entry" }, h("i", { class: line.dash ? "dash" : "", style: { "--series": line.stroke } }), line.label, " ", values[place])), at);
    root.append(h("figure", { class: "card" }, h("figcaption", {}, options.title), plot, legend,
      options.about ? h("p", { class: "about" }, options.about) : null));
    const show = (value) => (options.percent ? MentorKit.format.percent(value) : MentorKit.format.short(value));
    const say = (place) => {
      const last = place === null || place === undefined;
      lines.forEach((line, each) => {
        const found = last ? line.values.findLast((value) => value !== null && value !== undefined) : line.values[place];
        values[each].textContent = show(found ?? null);
      });
      at.textContent = `step ${last ? options.x[options.x.length - 1] : options.x[place]}`;
    };
    say(null);
    draw(plot, options, lines, say);
  };

  function draw(plot, options, lines, say) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--muted").trim();
    const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
    const series = [{}];
    const data = [options.x];
    const bands = [];
    for (const line of lines) {
      const few = options.x.length < 40 && (line.points ?? false);
      series.push({ stroke: line.stroke, width: 2, dash: line.dash ? [6, 4] : undefined, spanGaps: true, points: { show: few, size: 6, fill: line.stroke } });
      data.push(line.values);
      if (line.low) {
        bands.push({ series: [data.length, data.length + 1], fill: `${line.stroke}22` });
        for (const bound of [line.high, line.low]) {
          series.push({ stroke: "transparent", width: 0, points: { show: false }, spanGaps: true });
          data.push(bound);
        }
      }
    }
    const chart = new uPlot({
      width: Math.max(200, plot.clientWidth), height: HEIGHT, series, bands,
      legend: { show: false },
      cursor: { sync: { key: "steps" }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false, range: options.x.length === 1 ? [options.x[0] - 1, options.x[0] + 1] : undefined }, y: { range: (u, low, high) => range(low, high, options.percent) } },
      axes: [
        { stroke: ink, grid, ticks: { show: false }, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
        { stroke: ink, grid, ticks: { show: false }, size: 50,
          values: (u, ticks) => ticks.map((tick) => (options.percent ? `${Number((100 * tick).toPrecision(3))} %` : MentorKit.format.short(tick))) },
      ],
      hooks: { setCursor: [(u) => say(u.cursor.idx)] },
    }, data, plot);
    if (options.pick) {
      chart.over.title = "a click opens the rollouts of that step";
      chart.over.addEventListener("click", () => { if (chart.cursor.idx !== null && chart.cursor.idx !== undefined) options.pick(chart.cursor.idx); });
    }
    const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(200, plot.clientWidth), height: HEIGHT }));
    observer.observe(plot);
    drawn.push([chart, observer]);
  }

  function range(low, high, percent) {
    if (low === null || high === null) return [0, 1];
    const span = high - low || Math.abs(high) || 1;
    // from 0 where that costs less than half of the height
    const bottom = low >= 0 && low < 0.75 * high ? 0 : low - 0.06 * span;
    const top = high + 0.06 * span;
    return percent && low >= 0 ? [Math.max(0, bottom), top > 0.9 ? Math.min(1.02, Math.max(top, 1)) : top] : [bottom, low === 0 && high === 0 ? 1 : top];
  }
})();
