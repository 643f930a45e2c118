"use strict";
// A grid: a row a problem, a cell an attempt or a checkpoint.
(function () {
  const h = MentorKit.h;
  const SHOWN = 400;

  /** A cell's look: right or wrong by colour and sign, a share of the best reward by strength. */
  MentorKit.cellLook = function (right, strength, ended = true) {
    return { class: `cell ${right ? "right" : "wrong"}`, sign: ended ? (right ? "✓" : "") : "…", strength: Math.max(0, Math.min(1, strength)) };
  };

  /**
   * rows: [{id, title, cells: [{look, title, pick, current, key} or null]}]; heads: texts above the cells, perhaps none;
   * current: the row that is looked at.
   */
  MentorKit.grid = function (rows, current, heads) {
    const place = rows.findIndex((row) => row.id === current);
    const shown = rows.slice(0, Math.max(SHOWN, place + 50));
    const grid = h("div", { class: "grid", role: "grid" },
      heads ? h("div", { class: "row heads" }, h("span", { class: "id" }), heads) : null,
      shown.map((row) => h("div", { class: `row ${row.id === current ? "current" : ""}`, role: "row", "data-problem": row.id },
        h("span", { class: "id", title: row.title }, row.id),
        row.cells.map((cell) => cell
          ? h("button", { class: `${cell.look.class} ${cell.current ? "current" : ""}`, title: cell.title, tabindex: -1, "data-cell": cell.key,
              "aria-label": cell.title, style: { "--strength": cell.look.strength }, onclick: cell.pick }, cell.look.sign)
          : h("span", { class: "cell none", title: "not evaluated" })))),
      shown.length < rows.length ? h("p", { class: "empty" }, `${rows.length - shown.length} more rows: filter to see them`) : null,
      rows.length ? null : h("p", { class: "empty" }, "no problem is like that"));
    return grid;
  };

  /** Bring the current row into view inside its list. */
  MentorKit.reveal = function (root) {
    const row = root.querySelector(".row.current");
    const list = root.querySelector(".list");
    if (!row || !list || list.scrollHeight <= list.clientHeight) return;
    const top = row.offsetTop - list.offsetTop;
    if (top < list.scrollTop + 24 || top > list.scrollTop + list.clientHeight - 48) list.scrollTop = top - list.clientHeight / 3;
  };
})();
