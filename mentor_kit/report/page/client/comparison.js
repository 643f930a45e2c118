"use strict";
// Several runs side by side: paired evaluations, and one line a run in each chart.
(function () {
  const h = MentorKit.h;
  const { percent, points, number } = MentorKit.format;
  const METRICS = [
    ["accuracy", "Right, share of rollouts", true],
    ["reward", "Reward", false],
    ["similarity", "Similarity to the teacher", false],
    ["entropy", "Entropy, nats", false],
    ["zero_variance_groups", "Groups of equal rewards", true],
    ["sampled_tokens", "Sampled tokens a rollout", false],
    ["seconds", "Seconds a step", false],
  ];

  function pairTable(comparison, title) {
    const rows = comparison.pairs.map((pair) => {
      const counts = pair.counts || {};
      const p = counts.p === undefined ? "–" : counts.p >= 0.001 ? counts.p.toFixed(3) : counts.p.toExponential(1);
      return [pair.split, pair.kind, percent(pair.a), percent(pair.b), h("b", {}, points(pair.difference.mean)),
        `${points(pair.difference.low)} to ${points(pair.difference.high)}`,
        number(counts.both ?? null), number(counts.only_a ?? null), number(counts.only_b ?? null), number(counts.neither ?? null), p];
    });
    return h("div", { class: "block" }, h("h2", {}, title),
      MentorKit.table(["split", "decoding", "A", "B", "B − A", "95 % interval", "both", "only A", "only B", "neither", "p"], rows, 2),
      comparison.notes.map((note) => h("p", { class: "about" }, note)));
  }

  function union(lists) {
    return [...new Set(lists.flat())].sort((a, b) => a - b);
  }

  /** Values of one run at the places of the common axis. */
  function aligned(x, at, values) {
    const found = new Map(at.map((step, place) => [step, values[place]]));
    return x.map((step) => found.get(step) ?? null);
  }

  MentorKit.compareRuns = function (root) {
    const runs = MentorKit.index.runs;
    for (const comparison of MentorKit.index.comparisons || []) {
      const [a, b] = [comparison.a, comparison.b].map((key) => runs.find((run) => run.key === key));
      root.append(pairTable(comparison, `A: ${MentorKit.runTitle(a)} · B: ${MentorKit.runTitle(b)}`));
    }
    const cards = h("div", { class: "cards" });
    root.append(h("h2", {}, "Runs side by side"), cards);
    const plans = [...new Set(runs.flatMap((run) => run.evaluations.plans.map((plan) => plan.name)))];
    for (const plan of plans) {
      const found = runs.map((run) => (run.evaluations.plans.find((each) => each.name === plan) || { checkpoints: [] }).checkpoints.filter((each) => each.metrics.greedy));
      const x = union(found.map((checkpoints) => checkpoints.map((each) => each.at)));
      const lines = runs.map((run, place) => {
        const at = found[place].map((each) => each.at);
        const of = (name) => aligned(x, at, found[place].map((each) => each.metrics.greedy[name]));
        return { label: MentorKit.runTitle(run), values: of("accuracy"), low: of("low"), high: of("high"), colour: place, points: true };
      });
      MentorKit.chart(cards, { title: `Evaluation, ${plan}, greedy`, x, percent: true, lines });
    }
    for (const [name, title, share] of METRICS) {
      const x = union(runs.map((run) => run.overview.steps.at));
      const lines = runs.map((run, place) => ({ label: MentorKit.runTitle(run), colour: place,
        values: aligned(x, run.overview.steps.at, run.overview.steps.metrics[name] || []) }));
      MentorKit.chart(cards, { title, x, lines, percent: share });
    }
  };
})();
