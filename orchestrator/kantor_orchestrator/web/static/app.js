// Times in the reader's zone, live pages, keys. No state: the server renders everything.
(() => {
  "use strict";
  const pad = (n, w = 2) => String(n).padStart(w, "0");
  const localTimes = (root) => {
    for (const el of root.querySelectorAll("time[data-form]:not([data-local])")) {
      const at = new Date(el.dateTime);
      if (isNaN(at)) continue;
      const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
      const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
      el.textContent = el.dataset.form === "clock" ? clock : `${day} ${clock}`;
      el.dataset.local = "1";
    }
  };

  // What the reader has opened stays open when a part of the page is replaced; so does what somebody is typing.
  let open = new Map();
  const remember = (root) => {
    open = new Map([...root.querySelectorAll("details[id]")].map((el) => [el.id, el.open]));
  };
  const reopen = (root) => {
    for (const el of root.querySelectorAll("details[id]")) if (open.has(el.id)) el.open = open.get(el.id);
  };
  const busy = () => {
    const el = document.activeElement;
    return el && el.closest("#live") && (el.matches("input, select, textarea") || el.closest("details.act[open]"));
  };

  // One request at a time: a second one would wait for the first, whose answer takes the element away, and be forgotten with it.
  // Nor does the new element hear anything before htmx has settled it.
  let waiting = false, asking = false;
  const refresh = () => {
    const live = document.getElementById("live");
    if (!live || asking || document.hidden || busy()) { waiting = true; return; }
    waiting = false;
    asking = true;
    htmx.trigger(live, "live");
  };
  const listen = () => {
    const url = document.body.dataset.live;
    if (!url || !document.getElementById("live")) return;
    const source = new EventSource(url);
    let last = null;
    source.addEventListener("changed", (event) => {
      document.getElementById("now-live").hidden = false;
      if (last !== null && last !== event.data) refresh();
      last = event.data;
    });
    source.addEventListener("error", () => { document.getElementById("now-live").hidden = true; });
    addEventListener("pagehide", () => source.close());
  };

  const places = { h: "/", t: "/transactions", i: "/incidents", d: "/definitions" };
  let wentTo = 0;
  const move = (by) => {
    const rows = [...document.querySelectorAll(".row a.id, .timeline summary")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))];
    if (next) next.focus();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      if (event.key === "/" && event.target.type === "search" && !event.target.value) event.preventDefault();
      return;
    }
    const keys = document.getElementById("keys");
    if (keys.open) return;
    if (event.timeStamp - wentTo < 1200 && places[event.key]) { location.href = places[event.key]; return; }
    wentTo = event.key === "g" ? event.timeStamp : 0;
    const act = {
      "/": () => (document.getElementById("q") || document.querySelector(".filters input") || document.getElementById("find")).focus(),
      "?": () => keys.showModal(), j: () => move(1), k: () => move(-1),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    listen();
    document.body.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.target.id === "live") remember(document); });
    document.body.addEventListener("htmx:afterSettle", () => { localTimes(document); });
    document.body.addEventListener("htmx:afterSwap", () => { const live = document.getElementById("live"); if (live) reopen(live); localTimes(document); });
    // An answer that says no is an answer, too.
    document.body.addEventListener("htmx:beforeOnLoad", (event) => { if (event.detail.xhr.status >= 400) { event.detail.shouldSwap = true; event.detail.isError = false; } });
    document.body.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.xhr.status >= 400 && event.detail.target.id === "said") { event.detail.shouldSwap = true; event.detail.isError = false; } });
    document.body.addEventListener("htmx:afterRequest", (event) => {
      if (event.detail.target && event.detail.target.id === "live")
        setTimeout(() => { asking = false; if (waiting) refresh(); }, htmx.config.defaultSettleDelay + 20);
      const act = event.detail.elt.closest && event.detail.elt.closest("details.act");
      if (act && event.detail.successful) { act.open = false; document.getElementById("main").focus(); refresh(); }
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting) refresh(); });
    document.addEventListener("focusout", () => setTimeout(() => { if (waiting) refresh(); }));
  });
})();
