"use strict";
// Evaluations: a row a problem, a column a checkpoint of each run, so that flips show; paired by problem over runs.
(function () {
  const h = MentorKit.h;
  const { percent } = MentorKit.format;
  const FILTERS = [["", "all problems"], ["flips", "changed between columns"], ["gained", "wrong first, right last"], ["lost", "right first, wrong last"], ["never", "right in no column"], ["always", "right in all"]];
  const NONE = "none";
  let shown = null;

  function plans() {
    return [...new Set(MentorKit.index.runs.flatMap((run) => run.evaluations.plans.map((plan) => plan.name)))];
  }

  function plan() {
    const all = plans();
    return all.includes(MentorKit.place().plan) ? MentorKit.place().plan : all[0];
  }

  /** The columns: every checkpoint of every run, with a value by problem. */
  function columns(name, kind) {
    return MentorKit.index.runs.flatMap((run) => {
      const found = run.evaluations.plans.find((each) => each.name === name);
      return (found ? found.checkpoints : []).filter((each) => each.metrics[kind] || each.outcomes.length).map((checkpoint) => {
        // an agent with one kind of decoding alone, as teachers are, is compared with both of the student's
        const decoding = checkpoint.metrics[kind] || checkpoint.own ? kind : kind === "greedy" ? "sampled" : "greedy";
        const values = new Map(found.problems.map((problem, place) => [problem, (checkpoint.outcomes[place] || [])[decoding === "greedy" ? 0 : 1]]));
        return { key: `${run.key}:${checkpoint.name}`, run, checkpoint, values, decoding };
      });
    }).filter((column) => [...column.values.values()].some((value) => value !== undefined && value !== null));
  }

  function kinds(name) {
    return ["greedy", "sampled"].filter((kind) => columns(name, kind).some((column) => column.decoding === kind));
  }

  function matches(values, filter) {
    const known = values.filter((value) => value !== undefined && value !== null);
    if (!filter) return true;
    if (!known.length) return false;
    const [first, last] = [known[0], known[known.length - 1]];
    return { flips: new Set(known).size > 1, gained: first < 1 && last > first, lost: first > last, never: known.every((value) => value === 0), always: known.every((value) => value === 1) }[filter];
  }

  function head(column, place, all) {
    const several = MentorKit.index.runs.length > 1;
    const metrics = column.checkpoint.metrics[column.decoding];
    const starts = several && (place === 0 || all[place - 1].run !== column.run);
    return h("span", { class: `head ${starts ? "starts" : ""}`, title: `${MentorKit.runTitle(column.run)}, ${column.checkpoint.agent}, step ${column.checkpoint.at}: ${metrics ? percent(metrics.accuracy) : ""}` },
      several ? h("small", {}, String.fromCharCode(65 + MentorKit.index.runs.indexOf(column.run))) : null,
      h("b", {}, column.checkpoint.own || column.checkpoint.at ? column.checkpoint.at : "–"), h("small", {}, metrics ? Math.round(100 * metrics.accuracy) : ""));
  }

  async function problemsOf(name) {
    const found = {};
    for (const run of MentorKit.index.runs) {
      if (!run.evaluations.plans.some((each) => each.name === name)) continue;
      const chunk = await MentorKit.source.chunk(run, `problems/${name}`);
      for (const [id, problem] of Object.entries((chunk || {}).problems || {})) found[id] = found[id] || problem;
    }
    return found;
  }

  async function episode(column, id, sample) {
    if (!column || !column.checkpoint.recorded) return null;
    const chunk = await MentorKit.source.chunk(column.run, `evaluation/${column.checkpoint.name}`);
    const all = ((chunk || {}).problems || {})[id] || [];
    const found = all.filter((each) => each.decoding === column.decoding);
    return found.length ? { one: found[Math.min(sample, found.length - 1)], count: found.length } : null;
  }

  const named = (column) => `${MentorKit.index.runs.length > 1 ? `${MentorKit.runTitle(column.run)}, ` : ""}step ${column.checkpoint.at}${column.checkpoint.own ? "" : `, ${column.checkpoint.agent}`}`;

  /** The column that stands beside the one looked at: the chosen one; with several runs, the last of another. */
  function besideOf(all, column) {
    const wanted = MentorKit.place().beside;
    if (wanted === NONE) return null;
    return all.find((each) => each.key === wanted && each !== column) || (wanted ? null : all.findLast((each) => each.run !== column.run) || null);
  }

  async function panel(all, column, problem) {
    if (!column || !problem) return h("div", { class: "panel" });
    const sample = Number(MentorKit.place().sample || 0);
    const beside = besideOf(all, column);
    const [own, other] = await Promise.all([episode(column, problem.id, sample), episode(beside, problem.id, sample)]);
    const menus = h("div", { class: "views" },
      MentorKit.menu("beside", [[NONE, "the teacher alone"], ...all.filter((each) => each !== column).map((each) => [each.key, named(each)])], beside ? beside.key : NONE, (key) => MentorKit.go({ beside: key }, { replace: true })),
      own && own.count > 1 ? MentorKit.menu("sample", Array.from({ length: own.count }, (_, place) => [String(place), `${place + 1} of ${own.count}`]), String(Math.min(sample, own.count - 1)), (key) => MentorKit.go({ sample: key }, { replace: true })) : null);
    const missing = "this episode is not in the page";
    const student = { key: "student", title: "student", note: named(column), other: "teacher", against: beside ? 2 : 1, ...(own ? { messages: own.one.messages } : { missing }) };
    const second = beside ? { key: "beside", title: "beside", note: `${named(beside)}${other ? `, ${other.one.correct ? "right" : "wrong"}${other.one.answer ? `: ${other.one.answer}` : ""}, reward ${MentorKit.format.number(other.one.reward.total)}` : ""}`, other: "teacher", against: 2, ...(other ? { messages: other.one.messages } : { missing }) } : null;
    const found = [student, second, MentorKit.teacherColumn(problem, 0, "student")].filter(Boolean);
    return h("div", { class: "panel" },
      own ? MentorKit.attemptHead(own.one, problem, `${named(column)}, ${column.decoding}`) : h("h2", {}, problem.id, " ", h("small", {}, named(column))),
      menus, MentorKit.opening(problem), MentorKit.columns(found));
  }

  function toolbar(name, kind, count) {
    const all = plans();
    return h("div", { class: "toolbar" },
      MentorKit.menu("evaluation", all.map((each) => [each, each]), name, (key) => MentorKit.go({ plan: key, problem: null, column: null, beside: null })),
      MentorKit.menu("decoding", kinds(name).map((each) => [each, each]), kind, (key) => MentorKit.go({ decoding: key })),
      MentorKit.menu("show", FILTERS, MentorKit.place().changed || "", (key) => MentorKit.go({ changed: key, problem: null })),
      h("span", { class: "count" }, count));
  }

  async function render(root, isCurrent) {
    const name = plan();
    const place = MentorKit.place();
    const possible = kinds(name);
    const kind = possible.includes(place.decoding) ? place.decoding : possible[0];
    const all = columns(name, kind);
    const known = await problemsOf(name);
    if (!isCurrent()) return;
    const ids = [...new Set(all.flatMap((column) => [...column.values.keys()]))];
    const rowsOf = ids.filter((id) => matches(all.map((column) => column.values.get(id)), place.changed));
    const id = rowsOf.includes(place.problem) ? place.problem : rowsOf[0];
    const column = all.find((each) => each.key === place.column) || all.findLast((each) => each.run === MentorKit.run()) || all[all.length - 1];
    const problem = id === undefined ? null : known[id] || { id, opening: [], demonstrations: [] };
    shown = { rows: rowsOf, id, columns: all, column };
    const drawn = await panel(all, column, problem);
    if (!isCurrent()) return;
    const rows = rowsOf.map((each) => ({
      id: each,
      title: (((known[each] || {}).opening || []).slice(-1)[0] || {}).content || each,
      cells: all.map((one) => {
        const value = one.values.get(each);
        if (value === undefined || value === null) return null;
        const look = MentorKit.cellLook(value > 0, value);
        if (value > 0 && value < 1) look.sign = String(Math.round(100 * value));
        return { look, key: one.key, current: each === id && one === column, title: `${each}, ${named(one)}: ${percent(value)}`,
          pick: () => MentorKit.go({ plan: name, problem: each, column: one.key }, { replace: true }) };
      }),
    }));
    const old = root.querySelector(".list");
    const top = old ? old.scrollTop : 0;
    const list = h("div", { class: "list" }, MentorKit.grid(rows, id, all.map(head)));
    const legend = MentorKit.index.runs.length > 1 ? h("p", { class: "about" }, MentorKit.index.runs.map((run, at) => `${String.fromCharCode(65 + at)}: ${MentorKit.runTitle(run)}`).join(" · ")) : null;
    MentorKit.clear(root, toolbar(name, kind, `${rowsOf.length} of ${ids.length} problems, ${all.length} ${all.length === 1 ? "checkpoint" : "checkpoints"}`), legend, h("div", { class: "split" }, list, drawn));
    list.scrollTop = top;
    MentorKit.reveal(root);
  }

  function moveProblem(by) {
    if (shown && shown.id !== undefined) MentorKit.go({ plan: plan(), problem: MentorKit.moved(shown.rows, shown.id, by) }, { replace: true });
  }

  function moveColumn(by) {
    if (shown && shown.column) MentorKit.go({ plan: plan(), problem: shown.id, column: MentorKit.moved(shown.columns, shown.column, by).key }, { replace: true });
  }

  function movePlan(by) {
    MentorKit.go({ plan: MentorKit.moved(plans(), plan(), by), problem: null, column: null, beside: null }, { replace: true });
  }

  function nextFilter() {
    const keys = FILTERS.map(([key]) => key);
    MentorKit.go({ changed: keys[(keys.indexOf(MentorKit.place().changed || "") + 1) % keys.length], problem: null }, { replace: true });
  }

  MentorKit.tabs.push({
    key: "evaluations",
    title: "Evaluations",
    applies: (index) => index.runs.some((run) => run.evaluations.plans.length > 0),
    render,
    hints: [[["j", "k"], "problem"], [["h", "l"], "checkpoint"], [["[", "]"], "split"]],
    keys: { j: () => moveProblem(1), k: () => moveProblem(-1), l: () => moveColumn(1), h: () => moveColumn(-1), "]": () => movePlan(1), "[": () => movePlan(-1), f: nextFilter },
  });
})();
