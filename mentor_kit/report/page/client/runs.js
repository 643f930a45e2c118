"use strict";
// The list of runs, which a server sends again when something is new. Data go into the page through `MentorKit.h` alone.
(function () {
  const h = MentorKit.h;
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const POLL = 3000;
  const chosen = new Set();
  let list = null;
  let failures = 0;

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  function age(started) {
    if (!started) return "";
    const seconds = Math.max(0, (Date.now() - Date.parse(started)) / 1000);
    const [unit, length] = UNITS.find(([, each]) => seconds >= each) || UNITS[3];
    return `${Math.round(seconds / length)} ${unit}`;
  }

  function size(bytes) {
    let value = bytes;
    const units = ["B", "kB", "MB", "GB", "TB"];
    while (value >= 999.5 && units.length > 1) {
      value /= 1000;
      units.shift();
    }
    return `${value >= 9.95 || units[0] === "B" ? value.toFixed(0) : value.toFixed(1)} ${units[0]}`;
  }

  function accuracy(found) {
    if (!found) return "";
    const interval = found.low === null ? "" : ` (${MentorKit.format.interval(found.low, found.high)})`;
    return h("span", { title: `${found.plan}, ${found.kind}, after step ${found.step}` },
      (100 * found.accuracy).toFixed(1), h("span", { class: "muted" }, interval));
  }

  function together() {
    const keys = list.runs.filter((run) => chosen.has(run.page)).map((run) => run.page.replace(/^pages\/|\/$/g, ""));
    return h("p", { class: "about" }, keys.length > 1
      ? h("a", { id: "together", href: `pages/${keys.join(",")}/` }, `${keys.length} runs side by side`)
      : "Tick two runs or more to see them side by side.");
  }

  function row(run) {
    const tick = h("input", { type: "checkbox", "aria-label": `choose ${run.name} ${run.id}`, checked: chosen.has(run.page),
      onchange: (event) => {
        if (event.target.checked) chosen.add(run.page);
        else chosen.delete(run.page);
        document.getElementById("choice").replaceChildren(together());
      } });
    return [tick, h("a", { href: run.page }, run.name, " ", h("small", {}, run.id)),
      h("span", { class: `state ${run.state}` }, run.state), run.stage ? `${run.step}${run.steps ? `/${run.steps}` : ""}` : "",
      accuracy(run.accuracy), size(run.size), h("span", { class: "age", "data-started": run.started }, age(run.started))];
  }

  function draw() {
    const whole = list.runs.filter((run) => !run.fault);
    const broken = list.runs.filter((run) => run.fault);
    MentorKit.clear(document.getElementById("header"), h("h1", {}, "Runs"),
      h("span", { class: "tools" }, h("span", { id: "reach", hidden: true }, "the server does not answer")));
    document.title = "mentor-kit runs";
    MentorKit.clear(document.getElementById("main"),
      whole.length ? MentorKit.table(["", "run", "state", "step", "accuracy, % (95 % interval)", "size", "age"], whole.map(row), 3)
        : h("p", { class: "empty" }, "There are no runs yet: they appear here."),
      whole.length > 1 ? h("div", { id: "choice" }, together()) : null,
      broken.length ? h("div", { class: "notes" }, h("h2", {}, "Broken folders"),
        broken.map((run) => h("p", {}, `${run.name}/${run.id}: ${run.fault}`))) : null);
  }

  async function poll() {
    try {
      const answer = await fetch(`${settings.list}?since=${encodeURIComponent(list ? list.version : "")}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      if (answer.status !== 204) {
        list = await answer.json();
        draw();
      }
      failures = 0;
    } catch (error) {
      failures += 1;
      if (!list) MentorKit.clear(document.getElementById("main"), h("p", { class: "error" }, `This cannot be shown: ${error.message}`));
    }
    const reach = document.getElementById("reach");
    if (reach) reach.hidden = failures === 0;
    document.querySelectorAll(".age").forEach((each) => { each.textContent = age(each.dataset.started); });
    setTimeout(poll, POLL * Math.min(1 + failures, 10));
  }

  poll();
})();
