"use strict";
// Where the data come from: out of the file itself, or from the server that serves the page live.
(function () {
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const POLL = 2000;
  const KEPT = 24;
  let chunks = new Map();
  let failures = 0;

  async function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function ask(address) {
    const answer = await fetch(settings.source + address, { cache: "no-store" });
    if (answer.status === 204) return null;
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `the server answered ${answer.status}`);
    return answer.json();
  }

  function embedded(run, name) {
    const element = (run.chunks || {})[name];
    const found = element ? document.getElementById(element) : null;
    return found ? unpack(found) : null;
  }

  function checked(index) {
    if (index && index.format !== settings.format) throw new Error("the data are of another version than the page: reload it");
    return index;
  }

  MentorKit.source = {
    live: settings.source !== undefined,
    /** The address of the list of runs, where there is one. */
    home: settings.home || null,

    async index() {
      if (typeof DecompressionStream === "undefined" && !this.live) {
        throw new Error("this browser cannot unpack the data: it needs DecompressionStream (2023 and later)");
      }
      return checked(this.live ? await ask("data.json") : await unpack(document.getElementById("index")));
    },

    /** Whether a chunk is there; a server has all. */
    has(run, name) {
      return this.live || Boolean((run.chunks || {})[name]);
    },

    /** A run's chunk; null where the page leaves it out. */
    chunk(run, name) {
      const key = `${run.key} ${name}`;
      if (!chunks.has(key)) {
        const address = `chunk.json?run=${encodeURIComponent(run.key)}&name=${encodeURIComponent(name)}`;
        const found = Promise.resolve(this.live ? ask(address) : embedded(run, name));
        found.catch(() => chunks.delete(key));
        chunks.set(key, found);
        if (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
      }
      return chunks.get(key);
    },

    /** Calls `changed` with each newer index, and `reached` with whether the server answers. */
    watch(changed, reached) {
      if (!this.live) return;
      const poll = async () => {
        try {
          const index = checked(await ask(`data.json?since=${encodeURIComponent(MentorKit.index.version)}`));
          failures = 0;
          reached(true);
          if (index) {
            chunks = new Map();
            changed(index);
          }
        } catch (error) {
          failures += 1;
          reached(false);
        }
        setTimeout(poll, POLL * Math.min(1 + failures, 15));
      };
      setTimeout(poll, POLL);
    },
  };
})();
