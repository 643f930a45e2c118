"use strict";
// The place in the page is the address's hash, so that a finding can be linked; keys and links change the hash alone.
(function () {
  const h = MentorKit.h;
  let drawing = 0;
  /** The hash that is drawn; null while something is. */
  let drawn = null;

  MentorKit.place = function () {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  };

  /** The hash of a place. */
  MentorKit.address = function (place) {
    const found = Object.entries(place).filter(([, value]) => value !== null && value !== undefined && value !== "");
    return `#${new URLSearchParams(found)}`;
  };

  /** Go to a place that differs from this one; `replace` leaves no step in the history. */
  MentorKit.go = function (changes, { replace = false, fresh = false } = {}) {
    const kept = fresh ? { run: MentorKit.place().run } : MentorKit.place();
    const address = MentorKit.address({ ...kept, ...changes });
    if (address === location.hash) return;
    if (replace) {
      history.replaceState(null, "", address);
      MentorKit.draw();
    } else {
      location.hash = address;
    }
  };

  /** The run that is looked at. */
  MentorKit.run = function () {
    const runs = MentorKit.index.runs;
    return runs.find((run) => run.key === MentorKit.place().run) || runs[0];
  };

  MentorKit.runTitle = (run) => `${run.name} ${run.id}`;

  function tabs() {
    return MentorKit.tabs.filter((tab) => tab.applies(MentorKit.index));
  }

  MentorKit.tab = function () {
    const found = tabs();
    return found.find((tab) => tab.key === MentorKit.place().tab) || found[0];
  };

  /** What the tab's keys do, for those who have a keyboard. */
  function hints(tab) {
    return h("span", { class: "hints" }, (tab.hints || []).map(([keys, does]) => [keys.map((key) => h("kbd", {}, key)), ` ${does} `]));
  }

  function header() {
    const current = MentorKit.tab();
    const run = MentorKit.run();
    const several = MentorKit.index.runs.length > 1;
    const title = several
      ? MentorKit.menu("run", MentorKit.index.runs.map((each) => [each.key, MentorKit.runTitle(each)]), run.key,
          (key) => MentorKit.go({ run: key, step: null, problem: null, attempt: null }))
      : h("h1", {}, run.name, " ", h("small", {}, run.id));
    const state = h("span", { class: `state ${run.outcome}`, title: "how the run stands" }, run.outcome);
    const links = tabs().map((tab, place) =>
      h("a", { href: MentorKit.address({ tab: tab.key, run: several ? run.key : null }), "data-tab": tab.key,
        "aria-current": tab === current ? "page" : null, title: `key ${place + 1}` }, tab.title));
    const home = MentorKit.source.home ? h("a", { class: "home", href: MentorKit.source.home, title: "all runs" }, "← runs") : null;
    MentorKit.clear(document.getElementById("header"), home, title, state, h("nav", {}, links),
      h("span", { class: "tools" }, hints(current),
        h("span", { id: "reach", hidden: true }, "the server does not answer"),
        h("button", { class: "plain", title: "light or dark", "aria-label": "light or dark", onclick: MentorKit.toggleTheme }, "◐"),
        h("button", { class: "plain", title: "keys", "aria-label": "keys", onclick: MentorKit.toggleHelp }, "?")));
    document.title = `${MentorKit.index.runs.map(MentorKit.runTitle).join(" · ")} · ${current.title}`;
  }

  /** Draw the tab of the current place. A tab that waits for data asks `current()` before it goes on. */
  MentorKit.draw = async function () {
    const turn = ++drawing;
    drawn = null;
    const current = () => turn === drawing;
    const tab = MentorKit.tab();
    const main = document.getElementById("main");
    header();
    if (main.dataset.tab !== tab.key) {
      main.dataset.tab = tab.key;
      main.className = `tab-${tab.key}`;
      MentorKit.clear(main);
      window.scrollTo(0, 0);
    }
    try {
      await tab.render(main, current);
      if (current()) drawn = location.hash;
    } catch (error) {
      MentorKit.fail(error);
    }
  };

  /** Whether the place that the address names is drawn, or has failed. */
  MentorKit.settled = () => document.querySelector("main > .error") !== null || (drawn !== null && drawn === location.hash);

  MentorKit.fail = function (error) {
    MentorKit.clear(document.getElementById("main"), h("p", { class: "error" }, `This cannot be shown: ${error.message}`));
    document.getElementById("main").dataset.tab = "";
  };

  /** Move by some places in a list, and stay within it. */
  MentorKit.moved = function (list, value, by) {
    const place = list.indexOf(value);
    return list[Math.max(0, Math.min(list.length - 1, (place < 0 ? 0 : place) + (place < 0 ? 0 : by)))];
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches && event.target.matches("input, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || !MentorKit.index) return;
    if (event.key === "Escape") {
      MentorKit.toggleHelp(false);
      event.target.blur();
      return;
    }
    if (typing) return;
    const number = Number(event.key) - 1;
    const action = (MentorKit.tab().keys || {})[event.key];
    if (event.key === "?") MentorKit.toggleHelp();
    else if (tabs()[number]) MentorKit.go({ tab: tabs()[number].key }, { fresh: true });
    else if (action) action();
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", () => MentorKit.index && MentorKit.draw());
})();
