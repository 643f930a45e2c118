"use strict";
// The recipe as it ran, and the environment that it ran in.
(function () {
  const h = MentorKit.h;

  function flat(value, prefix = "") {
    return Object.entries(value || {}).flatMap(([name, each]) =>
      each && typeof each === "object" && !Array.isArray(each) ? flat(each, `${prefix}${name}.`) : [[prefix + name, typeof each === "string" ? each : JSON.stringify(each)]]);
  }

  MentorKit.tabs.push({
    key: "recipe",
    title: "Recipe",
    applies: () => true,
    render(root) {
      const run = MentorKit.run();
      MentorKit.clear(root, h("div", { class: "halves" },
        h("section", {}, h("h2", {}, "Recipe, expanded"), h("pre", { class: "recipe" }, run.recipe)),
        h("section", {}, h("h2", {}, "Environment"), MentorKit.table(["", ""], flat(run.environment), 2),
          h("p", { class: "about" }, `Page made by mentor-kit ${MentorKit.index.program}.`))));
    },
  });
})();
