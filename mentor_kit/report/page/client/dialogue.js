"use strict";
// Dialogues beside each other: the student's, the teacher's, perhaps another student's, with calls of one alone marked.
(function () {
  const h = MentorKit.h;
  const STATES = {
    malformed: "malformed: not readable as a call",
    parsed: "not checked",
    unknown_tool: "unknown tool",
    invalid_arguments: "invalid arguments",
    valid: "not run",
    failed: "failed",
  };

  function call(found, mark, other) {
    const state = STATES[found.state ?? "parsed"];
    const says = { tool: `not made by the ${other}`, arguments: `the ${other} gave other arguments` }[mark];
    return h("div", { class: `call ${mark ? `mark-${mark}` : ""}`, "data-state": found.state ?? "parsed", "data-mark": mark || null },
      h("code", {}, MentorKit.callText(found)),
      state ? h("span", { class: "badge bad" }, state) : null,
      says ? h("span", { class: "badge mark" }, says) : null,
      found.error ? h("div", { class: "fault" }, found.error) : null);
  }

  function message(found, marks, other) {
    const result = found.result;
    const content = found.content || (result && result.content) || "";
    return h("article", { class: `message ${found.role} ${result && result.ok === false ? "failed" : ""}`, "data-role": found.role },
      h("span", { class: "role" }, result && result.name ? `${result.name} →` : found.role),
      found.reasoning ? h("details", { class: "reasoning", open: found.reasoning.length < 600 }, h("summary", {}, "reasoning"), h("div", { class: "text" }, found.reasoning)) : null,
      content ? h("div", { class: "text" }, content) : null,
      (found.tool_calls || []).map((each) => call(each, marks && marks.get(each), other)),
      result && result.truncated ? h("span", { class: "badge" }, "cut to the limit of result tokens") : null);
  }

  /** The question, once for all columns, and the problem's own tools. */
  MentorKit.opening = function (problem) {
    const tools = problem.tools || [];
    return h("section", { class: "opening" }, (problem.opening || []).map((each) =>
      each.role === "system"
        ? h("details", {}, h("summary", {}, "system message"), h("div", { class: "text" }, each.content || ""))
        : message(each)),
      tools.length ? h("details", {}, h("summary", {}, `the problem's own tools: ${tools.length}`),
        tools.map((tool) => h("pre", { class: "text" }, JSON.stringify(tool.function || tool, null, 1)))) : null);
  };

  /**
   * Columns of dialogues: {title, note, messages, other}. The calls of a column are marked against those of the column
   * at the place `against`, which has the name `other`; without one nothing is marked.
   */
  MentorKit.columns = function (columns) {
    return h("div", { class: `columns n${columns.length}` }, columns.map((column) => {
      const against = columns[column.against];
      const marks = against && against.messages
        ? MentorKit.matchCalls(MentorKit.callsOf(column.messages || []), MentorKit.callsOf(against.messages)) : null;
      return h("section", { class: "column", "data-column": column.key },
        h("h3", {}, column.title, column.note ? h("small", {}, " ", column.note) : null),
        column.messages ? column.messages.map((each) => message(each, marks, column.other)) : null,
        column.messages && !column.messages.length ? h("p", { class: "empty" }, "nothing") : null,
        column.missing ? h("p", { class: "empty" }, column.missing) : null);
    }));
  };

  /** The teacher's column: the first right demonstration, or else the first. */
  MentorKit.teacherColumn = function (problem, against, other) {
    const all = problem.demonstrations || [];
    const found = all.find((each) => each.correct && each.messages) || all.find((each) => each.messages) || all[0];
    if (!found) return { key: "teacher", title: "teacher", missing: "no demonstration of this problem" };
    const note = `${found.teacher}${found.correct ? "" : ", wrong"}${all.length > 1 ? `, 1 of ${all.length}` : ""}`;
    if (!found.messages) {
      return { key: "teacher", title: "teacher", note, missing: `only its tools are known: ${found.tools_used.join(", ") || "none"}` };
    }
    return { key: "teacher", title: "teacher", note, messages: found.messages, against, other };
  };
})();
