"use strict";
// A rollout's tokens: what was trained on, with its log-probabilities, and what was masked.
(function () {
  const h = MentorKit.h;
  /** Nats at which a token is coloured most: a probability below 5 %. */
  const FULL = 3;

  function shown(text) {
    return text.replace(/\n/g, "↵\n").replace(/\t/g, "⇥");
  }

  function token(id, words, nats) {
    const text = words[id] === undefined ? `⟨${id}⟩` : shown(words[id]);
    if (nats === null) return h("span", { class: "token masked", title: `${id}: masked` }, text);
    const probability = 100 * Math.exp(-nats);
    return h("span", { class: "token trained", "data-nats": nats, style: { "--surprise": Math.min(1, nats / FULL) },
      title: `${id}: log-probability ${(-nats).toFixed(3)}, ${probability < 0.1 ? "below 0.1" : probability.toFixed(1)} %` }, text);
  }

  /** The tokens of an attempt; prompt: the ids before them; words: strings by id. */
  MentorKit.tokenView = function (tokens, prompt, words) {
    if (!tokens) return h("p", { class: "empty" }, "The tokens of this rollout are not in the page: they were not recorded, or left out by its limits.");
    const parts = [];
    const nats = tokens.nats.map((value) => value / 1000);
    let place = 0;
    let sampled = 0;
    tokens.spans.forEach((length, span) => {
      for (const id of tokens.ids.slice(place, place + length)) {
        parts.push(token(id, words, span % 2 === 0 ? nats[sampled] : null));
        if (span % 2 === 0) sampled += 1;
      }
      place += length;
    });
    const mean = nats.length ? nats.reduce((sum, value) => sum + value, 0) / nats.length : 0;
    const masked = tokens.ids.length - nats.length;
    return h("section", { class: "tokens" },
      h("p", { class: "about" },
        `${nats.length} tokens were sampled and trained on, ${masked} inserted and masked, ${(prompt || []).length} in the prompt. `,
        `Mean log-probability ${(-mean).toFixed(3)} at temperature ${tokens.temperature}, perplexity ${Math.exp(mean).toFixed(3)}.`),
      h("p", { class: "about key" }, h("span", { class: "token trained", style: { "--surprise": 0 } }, "likely"), h("span", { class: "token trained", style: { "--surprise": 0.5 } }, "22 %"),
        h("span", { class: "token trained", style: { "--surprise": 1 } }, "below 5 %"), h("span", { class: "token masked" }, "masked"),
        Object.keys(words).length ? null : " No tokenizer was found: tokens are shown as their ids."),
      h("details", {}, h("summary", {}, "prompt"), h("div", { class: "stream" }, (prompt || []).map((id) => token(id, words, null)))),
      h("div", { class: "stream" }, parts));
  };
})();
