"use strict";
// The first tab: before and after, curves, what went wrong, where the time went.
(function () {
  const h = MentorKit.h;
  const { percent, points, number, interval, seconds, time } = MentorKit.format;

  /** Charts of a step's metrics: title, [name, label] pairs, options. */
  const CHARTS = [
    ["Right, and similarity to the teacher", [["accuracy", "right"], ["similarity", "similarity"]], { percent: true }],
    ["What went wrong in calls, share of calls", [["malformed_rate", "malformed"], ["unknown_tool_rate", "unknown tool"], ["invalid_arguments_rate", "invalid arguments"], ["failed_rate", "failed"]], { percent: true }],
    ["Entropy, nats a token", [["entropy", "entropy"]], {}],
    ["Groups of equal rewards, distinct rollouts", [["zero_variance_groups", "groups of equal rewards"], ["distinct", "distinct rollouts"]], { percent: true }],
    ["Lengths, tokens a rollout", [["response_tokens", "response"], ["sampled_tokens", "sampled"]], {}],
    ["Turns and calls a rollout", [["turns", "turns"], ["calls_per_problem", "calls"]], {}],
    ["Not ended, share of rollouts", [["not_ended", "not ended"], ["truncated", "cut"]], { percent: true }],
    ["Loss", [["loss", "loss"]], {}],
    ["Gradient norm", [["gradient_norm", "before clipping"]], {}],
    ["Staleness of tokens, versions", [["staleness_mean", "mean"], ["staleness_max", "oldest"]], {}],
    ["Update and sampler apart, nats a token", [["mismatch", "mean"], ["mismatch_max", "largest"]], {}],
    ["Seconds a step", [["seconds_rollout", "rollouts"], ["seconds_update", "update"], ["seconds", "all"]], {}],
  ];

  function facts(run) {
    const steps = run.overview.steps.at.length;
    const spent = run.overview.time;
    return h("dl", { class: "facts" }, [["student", run.student], ["seed", run.seed], ["steps", steps], ["started", time(run.started)],
      ["last event", time(run.last)], ["time", spent.total ? seconds(spent.total) : "–"]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));
  }

  function notes(run) {
    const found = run.overview.notes;
    if (!found.length && !(run.notes || []).length) return null;
    const text = (values) => (values.text && values.advice ? `${values.text}. What helps: ${values.advice}` : values.text) || Object.entries(values).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ");
    return h("section", { class: "notes" },
      found.map((note) => h("p", { class: note.kind }, h("b", {}, note.kind === "diagnosis" ? "found" : note.kind, note.step === null ? "" : `, step ${note.step}`), " ", MentorKit.withCode(text(note.values)))),
      (run.notes || []).map((note) => h("p", { class: "limit" }, h("b", {}, "limit"), " ", note)));
  }

  function change(run) {
    const rows = run.overview.before_after.map((each) => [each.split, each.kind, `${percent(each.before)}`, h("b", {}, percent(each.after)),
      points(each.difference.mean), `${points(each.difference.low)} to ${points(each.difference.high)}`,
      `${number(each.similarity_before, 2)} → ${number(each.similarity_after, 2)}`, each.difference.count]);
    if (!rows.length) return null;
    const steps = run.overview.before_after;
    const same = (name) => new Set(steps.map((each) => each[name])).size === 1;
    const head = (name, word) => (same(name) ? `step ${steps[0][name]}` : word);
    return h("section", { class: "block" }, h("h2", {}, "Before and after"),
      MentorKit.table(["split", "decoding", head("before_step", "first"), head("after_step", "last"), "change, points", "95 % interval", "similarity", "problems"], rows, 2));
  }

  function last(run) {
    const rows = run.evaluations.plans.flatMap((plan) => {
      const checkpoint = plan.checkpoints[plan.checkpoints.length - 1];
      return ["greedy", "sampled"].filter((kind) => checkpoint.metrics[kind]).map((kind) => {
        const found = checkpoint.metrics[kind];
        return [plan.name, kind, String(checkpoint.at), h("b", {}, percent(found.accuracy)), interval(found.low, found.high), number(found.episodes ?? null)];
      });
    });
    return rows.length ? h("section", { class: "block" }, h("h2", {}, "Last evaluation"),
      MentorKit.table(["split", "decoding", "step", "right", "95 % interval, %", "episodes"], rows, 2)) : null;
  }

  /** Accuracy by group of the last evaluation of each split. */
  function groups(run) {
    const rows = run.evaluations.plans.flatMap((plan) => {
      const { metrics } = plan.checkpoints[plan.checkpoints.length - 1];
      return Object.entries(metrics.groups || {}).flatMap(([group, kinds]) => ["greedy", "sampled"].filter((kind) => kinds[kind]).map((kind) =>
        [plan.name, group, kind, h("b", {}, percent(kinds[kind].accuracy)), interval(kinds[kind].low, kinds[kind].high), number(kinds[kind].episodes ?? null)]));
    });
    return rows.length ? h("details", { class: "block" }, h("summary", {}, "Last evaluation by group"),
      MentorKit.table(["split", "group", "decoding", "right", "95 % interval, %", "episodes"], rows, 3)) : null;
  }

  /** How calls are chosen and ordered beside the teacher's, in the first and the last evaluation of each split. */
  function strategy(run) {
    const names = ["needless_calls", "missing_calls", "teacher_order", "recovery_rate", "calls_per_right_answer"];
    const shown = (metrics) => names.map((name) => (metrics[name] == null ? "–" : name.endsWith("order") || name.endsWith("rate") ? percent(metrics[name]) : number(metrics[name], 2)));
    const rows = run.evaluations.plans.flatMap((plan) => [...new Set([plan.checkpoints[0], plan.checkpoints[plan.checkpoints.length - 1]])]
      .filter(({ metrics }) => names.some((name) => metrics[name] != null)).map(({ at, metrics }) => [plan.name, String(at), ...shown(metrics)]));
    return rows.length ? h("details", { class: "block" }, h("summary", {}, "Choice of calls, beside the teacher"),
      MentorKit.table(["split", "step", "needless", "missing", "in the teacher's order", "recovered after a fault", "calls a right answer"], rows, 2)) : null;
  }

  function evaluations(cards, run) {
    for (const kind of ["greedy", "sampled"]) {
      const plans = run.evaluations.plans.map((plan) => ({ name: plan.name, own: plan.checkpoints.filter((each) => each.own && each.metrics[kind]) }));
      const x = [...new Set(plans.flatMap((plan) => plan.own.map((each) => each.at)))].sort((a, b) => a - b);
      const lines = plans.map((plan, place) => {
        const found = new Map(plan.own.map((each) => [each.at, each.metrics[kind]]));
        const of = (name) => x.map((at) => (found.get(at) || {})[name] ?? null);
        return { label: plan.name, values: of("accuracy"), low: of("low"), high: of("high"), colour: place, points: true };
      });
      MentorKit.chart(cards, { title: `Evaluations, ${kind}, with 95 % intervals`, x, lines, percent: true });
    }
  }

  function training(cards, run) {
    const { at, stage, step, metrics } = run.overview.steps;
    const recorded = new Set(run.rollouts.steps.map((each) => each.key));
    const pick = (place) => {
      const key = `${stage[place]}/${step[place]}`;
      if (recorded.has(key)) MentorKit.go({ tab: "rollouts", step: key }, { fresh: true });
    };
    const terms = Object.keys(metrics).filter((name) => name.startsWith("reward/"));
    const gates = Object.keys(metrics).filter((name) => name.startsWith("gate/"));
    MentorKit.chart(cards, { title: "Reward by term, mean over the step's rollouts", x: at, pick,
      lines: [["reward", "total"], ...terms.map((name) => [name, name.slice(7)])].map(([name, label]) => ({ label, values: metrics[name] || [] })) });
    for (const [title, names, options] of CHARTS) {
      MentorKit.chart(cards, { title, x: at, pick, ...options, lines: names.filter(([name]) => metrics[name]).map(([name, label]) => ({ label, values: metrics[name] })) });
    }
    MentorKit.chart(cards, { title: "Stopped by a gate, share of rollouts", x: at, pick, percent: true,
      lines: gates.map((name) => ({ label: name.slice(5), values: metrics[name].map((value) => value ?? 0) })) });
  }

  function spent(run) {
    const { total, parts } = run.overview.time;
    const names = Object.keys(parts);
    if (!names.length || !total) return null;
    const palette = MentorKit.colours();
    return h("figure", { class: "card" }, h("figcaption", {}, `Where the time went: ${seconds(total)}`),
      h("div", { class: "shares" }, names.map((name, place) => h("span", { title: name, style: { "--share": parts[name] / total, "--series": palette[place] } }))),
      h("ul", { class: "plainlist" }, names.map((name, place) => h("li", {}, h("i", { style: { "--series": palette[place] } }), `${name} `, h("b", {}, seconds(parts[name])), ` ${percent(parts[name] / total)}`))),
      h("p", { class: "about" }, "Outside steps are evaluations, demonstrations, checkpoints and loading."));
  }

  MentorKit.tabs.push({
    key: "overview",
    title: "Overview",
    applies: () => true,
    render(root) {
      const run = MentorKit.run();
      const several = MentorKit.index.runs.length > 1;
      const scroll = window.scrollY;
      MentorKit.dropCharts();
      MentorKit.clear(root);
      if (several) {
        MentorKit.compareRuns(root);
        root.append(h("h2", { class: "of-run" }, MentorKit.runTitle(run)));
      }
      const cards = h("div", { class: "cards" });
      root.append(...[facts(run), notes(run), h("div", { class: "tables" }, change(run) || last(run), groups(run), strategy(run)), cards].filter(Boolean));
      evaluations(cards, run);
      training(cards, run);
      const time = spent(run);
      if (time) cards.append(time);
      if (!cards.children.length) cards.append(h("p", { class: "empty" }, "no step and no evaluation so far"));
      window.scrollTo(0, scroll);
    },
  });
})();
