"use strict";
// What an attempt earned and why: the verdict, the key, the reward by term with its gate, the advantage.
(function () {
  const h = MentorKit.h;
  const { number, signed } = MentorKit.format;

  MentorKit.FLAGS = {
    paid: "wrong, yet paid",
    raised: "wrong, yet made likelier",
    tools: "right with other tools",
    call: "a call went wrong",
    unended: "not ended",
    mixed: "mixed group",
    equal: "equal rewards in the group",
  };

  function chip(kind, ...text) {
    return h("span", { class: `chip ${kind}` }, text);
  }

  function terms(reward) {
    const names = Object.keys(reward.terms || {});
    if (!names.length) return null;
    const most = Math.max(...names.map((name) => Math.abs(reward.terms[name].value)), 1e-9);
    const rows = names.map((name) => {
      const { score, value } = reward.terms[name];
      const bar = h("span", { class: `bar ${value < 0 ? "minus" : ""}`, style: { "--share": Math.abs(value) / most } });
      return [name, number(score), h("span", { "data-term": name }, number(value)), bar];
    });
    return MentorKit.table(["term", "score", "pays", ""], rows, 1, 3);
  }

  /** Whether an attempt was judged at all; a free question of a chat has neither key nor reward. */
  MentorKit.judged = function (attempt, problem) {
    return attempt.correct || problem.key !== undefined || Boolean(attempt.reward.gate) || Object.keys(attempt.reward.terms || {}).length > 0;
  };

  function verdict(attempt, judged) {
    const answer = attempt.answer ?? null;
    const code = answer === null ? null : h("code", { "data-field": "answer" }, answer);
    if (!judged) return chip("", answer === null ? "not judged" : "answer: ", code);
    return chip(attempt.correct ? "right" : "wrong", attempt.correct ? "✓ right" : "✗ wrong", answer === null ? ", no answer" : ": ", code);
  }

  /**
   * The head of an attempt.
   * attempt: of a chunk; problem: its problem; title: what it is; mean: of the group, for runs that recorded no advantage.
   */
  MentorKit.attemptHead = function (attempt, problem, title, mean) {
    const reward = attempt.reward;
    const key = problem.key ?? null;
    const judged = MentorKit.judged(attempt, problem);
    return h("section", { class: "attempt", "data-id": attempt.id || "" },
      h("h2", {}, h("span", { class: "id" }, problem.id), " ", h("small", {}, title)),
      h("p", { class: "chips" },
        verdict(attempt, judged),
        attempt.agent ? chip("", "by ", h("b", { "data-field": "agent" }, attempt.agent)) : null,
        key === null ? null : chip("key", "key: ", h("code", { "data-field": "key" }, key)),
        judged ? chip("", "reward ", h("b", { "data-field": "reward" }, number(reward.total))) : null,
        attempt.advantage !== undefined
          ? chip("", "advantage ", h("b", { "data-field": "advantage" }, signed(attempt.advantage)))
          : mean === undefined || !judged ? null : chip("", "from the group's mean ", h("b", {}, signed(reward.total - mean))),
        reward.gate ? chip("wrong", "gate: ", h("b", { "data-field": "gate" }, reward.gate)) : null,
        chip(attempt.ending === "answered" ? "" : "wrong", h("span", { "data-field": "ending" }, attempt.ending), attempt.reason ? `: ${attempt.reason}` : null),
        (attempt.flags || []).map((flag) => chip("flag", MentorKit.FLAGS[flag] || flag))),
      reward.gate ? h("p", { class: "about" }, "A gate was not passed: it alone decided the reward, and no term was paid.") : terms(reward));
  };
})();
