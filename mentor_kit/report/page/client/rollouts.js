"use strict";
// Training rollouts: a step, a row a problem, a cell an attempt; the student's turns beside the teacher's.
(function () {
  const h = MentorKit.h;
  const FILTERS = [
    ["", "all problems"], ["mixed", "mixed groups"], ["equal", "groups of equal rewards"], ["paid", "wrong, yet paid"],
    ["raised", "wrong, yet made likelier"], ["tools", "right with other tools"], ["call", "a call went wrong"], ["unended", "not ended"],
  ];
  let shown = null;

  function steps() {
    return MentorKit.run().rollouts.steps;
  }

  function step() {
    const found = steps();
    return found.find((each) => each.key === MentorKit.place().step) || found[found.length - 1];
  }

  const ofGroup = (filter) => filter === "mixed" || filter === "equal";
  const holds = (attempt, filter) => !filter || ofGroup(filter) || attempt.flags.includes(filter);

  function matches(problem, filter) {
    if (!filter) return true;
    return ofGroup(filter) ? problem.flags.includes(filter) : problem.attempts.some((attempt) => holds(attempt, filter));
  }

  function found(problem, text) {
    if (!text) return true;
    const words = `${problem.id} ${problem.opening.map((message) => message.content || "").join(" ")}`.toLowerCase();
    return words.includes(text.toLowerCase());
  }

  function toolbar(current, count) {
    const { filter = "", find = "" } = MentorKit.place();
    const all = steps();
    const several = new Set(all.filter((each) => !each.label).map((each) => each.stage)).size > 1;
    const label = (each) => `${each.label || `${several ? `${each.stage} ` : ""}step ${each.step}`}${filter && each.flags ? ` · ${each.flags[filter] || 0}` : ""}`;
    const options = FILTERS.map(([key, text]) => [key, key && current.flags ? `${text} (${current.flags[key] || 0})` : text]);
    return h("div", { class: "toolbar" },
      h("button", { title: "previous step, key [", onclick: () => move(-1) }, "‹"),
      MentorKit.menu("step", all.map((each) => [each.key, label(each)]), current.key, (key) => MentorKit.go({ step: key, problem: null, attempt: null })),
      h("button", { title: "next step, key ]", onclick: () => move(1) }, "›"),
      MentorKit.menu("show", options, filter, (key) => MentorKit.go({ filter: key, problem: null, attempt: null })),
      h("input", { type: "search", placeholder: "find in questions", "aria-label": "find in questions", value: find,
        onchange: (event) => MentorKit.go({ find: event.target.value, problem: null, attempt: null }, { replace: true }) }),
      h("span", { class: "count" }, count));
  }

  function rows(problems, problem, attempt, filter, best) {
    return problems.map((each) => ({
      id: each.id,
      title: (each.opening[each.opening.length - 1] || {}).content || each.id,
      cells: each.attempts.map((one, place) => {
        const look = MentorKit.cellLook(one.correct, one.reward.total / best, one.ending === "answered");
        const judged = MentorKit.judged(one, each);
        if (!judged) Object.assign(look, { class: "cell open", sign: "·" });
        if (!holds(one, filter)) look.class += " dim";
        return {
          look, key: place, current: each === problem && place === attempt,
          title: `${each.id}, attempt ${place + 1}${one.agent ? ` by ${one.agent}` : ""}: ${judged ? `${one.correct ? "right" : "wrong"}, reward ${MentorKit.format.number(one.reward.total)}` : "not judged"}`,
          pick: () => MentorKit.go({ step: step().key, problem: each.id, attempt: place }, { replace: true }),
        };
      }),
    }));
  }

  async function tokens(run, current, problem, attempt) {
    const [chunk, words] = await Promise.all([MentorKit.source.chunk(run, `tokens/${current.key}`), MentorKit.source.chunk(run, "vocabulary")]);
    const own = chunk && chunk.problems[problem.id];
    return MentorKit.tokenView(own && own.attempts[attempt], own && own.prompt, words || {});
  }

  async function panel(run, current, problem, attempt) {
    if (!problem) return h("div", { class: "panel" });
    const one = problem.attempts[attempt];
    const view = MentorKit.place().view === "tokens" ? "tokens" : "dialogue";
    const totals = problem.attempts.map((each) => each.reward.total);
    const mean = totals.reduce((sum, value) => sum + value, 0) / totals.length;
    const views = ["dialogue", "tokens"].map((each) => h("button", { "aria-pressed": String(each === view), "data-view": each, title: "key t",
      onclick: () => MentorKit.go({ view: each === "tokens" ? each : null }, { replace: true }) }, each));
    const body = view === "tokens" ? await tokens(run, current, problem, attempt)
      : MentorKit.columns([
        { key: "student", title: one.agent || "student", messages: one.messages, against: 1, other: "teacher" },
        MentorKit.teacherColumn(problem, 0, "student"),
      ]);
    return h("div", { class: "panel" },
      MentorKit.attemptHead(one, problem, `${current.label || `step ${current.step}`}, attempt ${attempt + 1} of ${problem.attempts.length}`, mean),
      h("div", { class: "views" }, views), view === "tokens" ? null : MentorKit.opening(problem), body);
  }

  function limits(run) {
    const left = (run.notes || []).filter((note) => /rollouts|tokens/.test(note));
    return left.map((note) => h("p", { class: "limit" }, note));
  }

  async function render(root, isCurrent) {
    const run = MentorKit.run();
    const current = step();
    if (!current) {
      shown = null;
      MentorKit.clear(root, limits(run), h("p", { class: "empty" }, "no rollouts of this run are in the page"));
      return;
    }
    const place = MentorKit.place();
    const filter = place.filter || "";
    const chunk = await MentorKit.source.chunk(run, `rollouts/${current.key}`);
    if (!isCurrent()) return;
    const problems = chunk.problems.filter((problem) => matches(problem, filter) && found(problem, place.find));
    const problem = problems.find((each) => each.id === place.problem) || problems[0];
    const wanted = Number(place.attempt ?? -1);
    const first = problem ? Math.max(0, problem.attempts.findIndex((each) => holds(each, filter))) : 0;
    const attempt = problem && wanted >= 0 && wanted < problem.attempts.length ? wanted : first;
    const best = Math.max(1e-9, ...chunk.problems.flatMap((each) => each.attempts.map((one) => one.reward.total)));
    shown = { problems, problem, attempt };
    const drawn = await panel(run, current, problem, attempt);
    if (!isCurrent()) return;
    const scrolled = root.querySelector(".list");
    const list = h("div", { class: "list" }, MentorKit.grid(rows(problems, problem, attempt, filter, best), problem && problem.id));
    const attempts = problems.reduce((sum, each) => sum + each.attempts.filter((one) => holds(one, filter)).length, 0);
    const count = `${problems.length} of ${chunk.problems.length} problems, ${attempts} attempts`;
    const top = scrolled ? scrolled.scrollTop : 0;
    MentorKit.clear(root, limits(run), toolbar({ ...current, flags: current.flags || chunk.flags }, count), h("div", { class: "split" }, list, drawn));
    list.scrollTop = top;
    MentorKit.reveal(root);
  }

  function move(by) {
    const { filter } = MentorKit.place();
    const all = steps();
    let place = all.indexOf(step());
    // with a filter, steps that are known to have nothing are passed over
    do place += by; while (filter && all[place] && all[place].flags && !all[place].flags[filter]);
    if (all[place]) MentorKit.go({ step: all[place].key, problem: null, attempt: null }, { replace: true });
  }

  function moveProblem(by) {
    if (!shown || !shown.problem) return;
    const next = MentorKit.moved(shown.problems, shown.problem, by);
    const attempt = MentorKit.place().filter ? null : Math.min(shown.attempt, next.attempts.length - 1);
    MentorKit.go({ step: step().key, problem: next.id, attempt }, { replace: true });
  }

  function moveAttempt(by) {
    if (!shown || !shown.problem) return;
    const last = shown.problem.attempts.length - 1;
    MentorKit.go({ step: step().key, problem: shown.problem.id, attempt: Math.max(0, Math.min(last, shown.attempt + by)) }, { replace: true });
  }

  function nextFilter() {
    const keys = FILTERS.map(([key]) => key);
    const next = keys[(keys.indexOf(MentorKit.place().filter || "") + 1) % keys.length];
    MentorKit.go({ filter: next, problem: null, attempt: null }, { replace: true });
  }

  MentorKit.tabs.push({
    key: "rollouts",
    title: "Rollouts",
    applies: (index) => index.runs.some((run) => run.rollouts.recorded > 0),
    render,
    hints: [[["j", "k"], "problem"], [["h", "l"], "attempt"], [["[", "]"], "step"], [["t"], "tokens"]],
    keys: {
      j: () => moveProblem(1), k: () => moveProblem(-1), l: () => moveAttempt(1), h: () => moveAttempt(-1),
      "]": () => move(1), "[": () => move(-1), f: nextFilter,
      t: () => MentorKit.go({ view: MentorKit.place().view === "tokens" ? null : "tokens" }, { replace: true }),
    },
  });
})();
