"use strict";
// Calls as text, and which of them another dialogue made, too.
(function () {
  /** A JSON value as text, with sorted keys, so that equal values are equal texts. */
  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value && typeof value === "object") {
      return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
    }
    return JSON.stringify(value);
  }

  const identity = (call) => `${call.name || ""} ${canonical(call.arguments || {})}`;

  MentorKit.callText = function (call) {
    if (call.state === "malformed") return call.raw || call.name || "(nothing that could be read)";
    const values = Object.entries(call.arguments || {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    return `${call.name || "?"}(${values.join(", ")})`;
  };

  MentorKit.callsOf = (messages) => messages.flatMap((message) => (message.role === "assistant" && message.tool_calls) || []);

  /**
   * How each call of one dialogue stands to those of another: "same", "arguments" (that tool with other arguments) or
   * "tool" (a call that the other did not make). Every call of the other answers to one call at most.
   */
  MentorKit.matchCalls = function (own, other) {
    const found = new Map();
    const left = [...other];
    const named = (a, b) => a.name === b.name;
    const sharing = (a, b) => named(a, b) && Object.entries(a.arguments || {}).some(([key, value]) => canonical(value) === canonical((b.arguments || {})[key]));
    for (const match of [(a, b) => identity(a) === identity(b), sharing, named]) {
      for (const call of own) {
        if (found.has(call) || call.state === "malformed") continue;
        const place = left.findIndex((candidate) => match(call, candidate));
        if (place >= 0) {
          found.set(call, identity(call) === identity(left[place]) ? "same" : "arguments");
          left.splice(place, 1);
        }
      }
    }
    for (const call of own) if (!found.has(call)) found.set(call, "tool");
    return found;
  };
})();
