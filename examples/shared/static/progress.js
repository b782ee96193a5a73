// Each element with data-events follows the task behind that address until it has ended.
"use strict";

for (const card of document.querySelectorAll("[data-events]")) {
  follow(card);
}

function follow(card) {
  const events = new EventSource(card.dataset.events);
  events.addEventListener("state", (event) => show(card, JSON.parse(event.data)));
  events.addEventListener("end", (event) => {
    events.close(); // Or the browser would connect again.
    const task = JSON.parse(event.data);
    show(card, task);
    if (["closed", "unavailable"].includes(task.reason)) {
      say(card, "Reconnecting …"); // That process has ended; another one will answer.
      setTimeout(() => follow(card), 1000);
    } else if ("reason" in task) {
      say(card, "Lost");
    }
  });
  // The connection between the web server and the results …
  events.addEventListener("connection", (event) => {
    say(card, JSON.parse(event.data).state === "reconnecting" ? "Reconnecting …" : null);
  });
  // … and that to the web server, which the browser makes again by itself, unless it was refused.
  events.addEventListener("open", () => say(card, null));
  events.addEventListener("error", () => {
    say(card, events.readyState === EventSource.CLOSED ? "Lost" : "Reconnecting …");
  });
}

function show(card, task) {
  const bar = card.querySelector("progress");
  if (task.state === "RETRY") {
    setDescription(card, `Will be tried again: ${task.result.message}`);
  } else if (task.complete) {
    card.dataset.is = task.success ? "done" : "failed";
    bar.value = task.success ? 100 : bar.value; // Where it failed; and no longer indeterminate.
    setDescription(card, task.success ? "The report is there" : task.result);
    if (task.success) {
      setPercent(card, 100);
      showFacts(card.querySelector(".facts"), task.result);
    }
  } else if (!task.progress.pending) {
    card.dataset.is = "working";
    bar.value = task.progress.percent;
    setPercent(card, task.progress.percent);
    setDescription(card, task.progress.description);
  }
  say(card, null);
}

function setPercent(card, percent) {
  card.querySelector(".percent").textContent = `${Math.round(percent)} %`;
}

function setDescription(card, text) {
  card.querySelector(".description").textContent = text;
}

// Of a result that is a dict, and not too large for an event.
function showFacts(list, result) {
  const facts = result instanceof Object && !Array.isArray(result) ? Object.entries(result) : [];
  list.replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  list.hidden = facts.length === 0;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// What the badge says: how the connection is, if that is the news, or how the task is.
function say(card, trouble) {
  const words = { waiting: "Waiting", working: "Working", done: "Done", failed: "Failed" };
  const badge = card.querySelector(".badge");
  const text = trouble ?? words[card.dataset.is];
  card.classList.toggle("away", trouble !== null);
  if (badge.textContent !== text) {
    badge.textContent = text; // It is read aloud, so only if it is another one.
  }
}
