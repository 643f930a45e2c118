"use strict";
// The list of keys, and light or dark.
(function () {
  const h = MentorKit.h;
  const KEYS = [
    ["1 2 3 …", "a tab"],
    ["j  k", "next, previous problem"],
    ["l  h", "next, previous attempt; in evaluations, checkpoint"],
    ["]  [", "next, previous step; in evaluations, split"],
    ["t", "dialogue or tokens of a rollout"],
    ["f", "next filter"],
    ["?", "this list; Escape closes it"],
  ];

  MentorKit.toggleHelp = function (show) {
    const found = document.getElementById("help");
    if (found) found.remove();
    if (found || show === false) return;
    const close = () => MentorKit.toggleHelp(false);
    document.body.append(h("div", { id: "help", role: "dialog", "aria-label": "keys", onclick: close },
      h("div", { class: "box" }, h("h2", {}, "Keys"),
        h("dl", {}, KEYS.map(([keys, does]) => [h("dt", {}, keys.split(" ").filter(Boolean).map((key) => h("kbd", {}, key))), h("dd", {}, does)])),
        h("p", {}, "The address of the page is the place that you look at: copy it to share a finding."))));
  };

  MentorKit.dark = function () {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };

  MentorKit.toggleTheme = function () {
    document.documentElement.dataset.theme = MentorKit.dark() ? "light" : "dark";
    MentorKit.draw();
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => MentorKit.index && MentorKit.draw());
})();
