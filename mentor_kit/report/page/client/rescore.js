"use strict";
// What other rewards would have paid for the run's episodes, as the command `rescore` has kept it in the run folder.
(function () {
  const h = MentorKit.h;
  const { percent, signed } = MentorKit.format;
  const LISTED = 10;

  const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
  const label = (reward) => (reward.own ? `${reward.name} (own)` : reward.name);
  const share = (reward, name) => (reward.own ? "–" : percent(reward[name]));

  function check(found) {
    const { checked, equal, exact, first, reason } = found.reproduction;
    const text = exact ? `The run's own reward, computed anew, gives all ${checked} episodes exactly what they earned.`
      : reason ? `The run's own reward was not computed anew: ${reason}.`
        : `The run's own reward, computed anew, differs for ${checked - equal} of ${checked} episodes; the first: ${first}.`;
    return [h("p", { class: exact ? "about" : "error", "data-exact": String(exact) }, text),
      found.notes.map((note) => h("p", { class: "limit" }, note))];
  }

  function rollouts(found) {
    const heads = ["reward", "mean", "zero variance", "with spread", "with right", "sign changed", "to 0", "from 0"];
    const rows = found.rewards.map((reward) => [label(reward), number(reward.mean), percent(reward.zero_variance), percent(reward.spread),
      number(reward.correlation), share(reward, "sign_changed"), share(reward, "to_zero"), share(reward, "from_zero")]);
    return h("section", { class: "block" }, h("h2", {}, `What rewards pay for the same ${found.rewards[0].episodes} rollouts of ${found.steps} steps`),
      MentorKit.table(heads, rows),
      h("p", { class: "about" }, "Zero variance: groups of equal rewards, from which nothing is learned. With right: correlation with the answer being right. ",
        "Sign changed: rollouts that the run's own estimator pushes the other way."));
  }

  function charts(run, found) {
    const { stage, step, mean, zero_variance: equal } = found.series;
    const places = new Map(run.overview.steps.at.map((at, place) => [`${run.overview.steps.stage[place]}/${run.overview.steps.step[place]}`, at]));
    const order = stage.map((each, place) => [places.get(`${each}/${step[place]}`) ?? step[place], place]).sort((a, b) => a[0] - b[0]);
    const x = order.map(([at]) => at);
    const recorded = new Set(run.rollouts.steps.map((each) => each.key));
    const pick = (place) => {
      const key = `${stage[order[place][1]]}/${step[order[place][1]]}`;
      if (recorded.has(key)) MentorKit.go({ tab: "rollouts", step: key }, { fresh: true });
    };
    const cards = h("div", { class: "cards" });
    const add = (title, columns, options) => MentorKit.chart(cards, { title, x, pick, ...options,
      lines: found.rewards.map((reward, place) => ({ label: label(reward), colour: place, dash: reward.own, values: order.map(([, at]) => columns[place][at]) })) });
    return [cards, () => {
      add("Mean reward", mean, {});
      add("Groups of equal rewards", equal, { percent: true });
    }];
  }

  function changes(run, found) {
    const steps = new Set(run.rollouts.steps.map((each) => each.key));
    const place = (each) => {
      const key = `${each.stage}/${each.step}`;
      const text = each.evaluation ? `${each.evaluation}, ${each.problem}, ${each.attempt + 1}` : `${key}, ${each.problem}, ${each.attempt + 1}`;
      return each.evaluation || !steps.has(key) ? text
        : h("a", { href: MentorKit.address({ run: MentorKit.place().run, tab: "rollouts", step: key, problem: each.problem, attempt: each.attempt }) }, text);
    };
    const row = (each) => [place(each), each.correct ? "right" : "wrong", number(each.before), h("b", {}, number(each.after)),
      signed(each.advantage_before, 2), signed(each.advantage_after, 2)];
    return found.rewards.filter((reward) => !reward.own).map((reward) => {
      const lists = [["more", reward.gained], ["less", reward.lost]].filter(([, list]) => list.length);
      return lists.map(([word, list]) => h("section", { class: "block" }, h("h3", {}, `${reward.name} pays ${word} than the run did`),
        MentorKit.table(["episode: step, problem, attempt", "answer", "reward", `${reward.name}'s`, "advantage", "with it"], list.slice(0, LISTED).map(row), 2)));
    });
  }

  function evaluations(found) {
    const heads = ["evaluation", ...found.rewards.map(label)];
    const rows = found.evaluations.map(([name, means]) => [name, ...means.map((value) => number(value))]);
    return h("section", { class: "block" }, h("h2", {}, "Mean reward of evaluated episodes"), MentorKit.table(heads, rows));
  }

  MentorKit.tabs.push({
    key: "rescore",
    title: "Other rewards",
    applies: (index) => index.runs.some((run) => run.rescore),
    render(root) {
      const run = MentorKit.run();
      const scroll = window.scrollY;
      MentorKit.dropCharts();
      MentorKit.clear(root);
      if (!run.rescore) {
        root.append(h("p", { class: "empty" }, "not computed for this run: mentorkit rescore RUN"));
        return;
      }
      if (run.rescore.rollouts) {
        const found = run.rescore.rollouts;
        const [cards, draw] = charts(run, found);
        root.append(...[check(found), rollouts(found), h("section", { class: "block" }, cards)].flat(2), h("div", { class: "tables" }, changes(run, found)));
        draw();
      }
      if (run.rescore.evaluations) {
        const found = run.rescore.evaluations;
        root.append(evaluations(found), ...check(found).flat(), h("div", { class: "tables" }, changes(run, found)));
      }
      window.scrollTo(0, scroll);
    },
  });
})();
