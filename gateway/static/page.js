// Keeps overview and lists up to date, shows times in the browser's zone, and asks before what cannot
// be taken back. The page works without it.
"use strict";

(() => {
  document.addEventListener("submit", (event) => {
    const ask = event.target.dataset && event.target.dataset.ask;
    if (ask && !window.confirm(ask)) event.preventDefault();
  });

  // On a phone the menu is wider than the screen.
  const nav = document.querySelector(".top nav");
  const current = nav && nav.querySelector("[aria-current]");
  if (current) nav.scrollLeft = current.offsetLeft - nav.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;

  // Times are written in UTC; the browser knows the zone of who reads them.
  const clock = new Intl.DateTimeFormat("en-GB", {
    year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
  });
  const local = (moment, ms = "") => {
    const p = Object.fromEntries(clock.formatToParts(moment).map(({ type, value }) => [type, value]));
    return `${p.year}-${p.month}-${p.day} ${p.hour}:${p.minute}:${p.second}${ms} ${p.timeZoneName}`;
  };
  const localize = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      time.title = time.textContent;
      const ms = "ms" in time.dataset ? `.${String(moment.getMilliseconds()).padStart(3, "0")}` : "";
      time.textContent = local(moment, ms);
    }
  };
  localize(document);

  // The address is the saved search: what was said of an action once is no part of it.
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(history.state, "", address);
  }

  const boxes = () => [...document.querySelectorAll("input[form=checked]")];
  const checked = () => boxes().filter((box) => box.checked);
  // The bar offers what the states of the checked rows allow, and of how many.
  const showChecked = () => {
    const form = document.getElementById("checked");
    if (!form) return;
    const rows = checked();
    const all = document.getElementById("check-all");
    all.parentElement.hidden = false;
    all.checked = rows.length > 0 && rows.length === boxes().length;
    all.indeterminate = rows.length > 0 && !all.checked;
    document.getElementById("checked-count").textContent = `${rows.length} checked`;
    for (const button of form.querySelectorAll("button")) {
      const n = rows.filter((box) => box.dataset.kinds.split(" ").includes(button.value)).length;
      button.disabled = !n;
      button.textContent = button.textContent.replace(/( \d+)?…$/, n ? ` ${n}…` : "…");
    }
  };
  document.addEventListener("change", ({ target }) => {
    if (target.id === "check-all") for (const box of boxes()) box.checked = target.checked;
    if (target.id === "check-all" || target.getAttribute("form") === "checked") showChecked();
  });
  showChecked();

  // Lists are read again every few seconds, unless rows are checked, or nobody looks.
  const lists = [...document.querySelectorAll("[data-list]")];
  const SECONDS = 5;
  const follow = () => {
    const line = document.createElement("p");
    line.className = "fine";
    line.innerHTML = '<label class="check"><input type="checkbox" checked> Refresh</label> <span></span>';
    lists[0].before(line);
    const [isOn, said] = [line.querySelector("input"), line.querySelector("span")];
    const shown = lists.map(() => "");
    const say = (words) => { said.textContent = words; };
    // What tells one link, button or box of a list from another.
    const nameOf = (node) => ["id", "value", "href", "aria-label"].map((name) => node.getAttribute(name) || "").join("|");
    const put = (list, fresh) => {
      const used = list.contains(document.activeElement) ? document.activeElement : null;
      const scrolled = [...list.querySelectorAll(".wide")].map((box) => box.scrollLeft);
      list.replaceChildren(...document.importNode(fresh, true).childNodes);
      localize(list);
      showChecked();
      list.querySelectorAll(".wide").forEach((box, n) => { box.scrollLeft = scrolled[n] || 0; });
      const again = used && [...list.querySelectorAll(used.tagName)].find((node) => nameOf(node) === nameOf(used));
      if (again) again.focus({ preventScroll: true });
    };
    const isUsed = () => checked().length > 0 || !getSelection().isCollapsed;
    const read = async () => {
      const answer = await fetch(address, { headers: { accept: "text/html" } });
      if (answer.redirected) return "log in again";
      if (!answer.ok) return `the queue answers ${answer.status}`;
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelectorAll("[data-list]");
      if (isUsed() || found.length !== lists.length) return "";
      lists.forEach((list, n) => {
        if (shown[n] === found[n].innerHTML) return;
        shown[n] = found[n].innerHTML;
        put(list, found[n]);
      });
      say(`as of ${local(new Date())}`);
      return "";
    };
    let timer = 0;
    const again = async () => {
      clearTimeout(timer);
      const began = performance.now();
      if (!isOn.checked) say("is off");
      else if (isUsed()) say("waits while rows are checked or text is selected");
      else if (!document.hidden) {
        const wrong = await read().catch(() => "the gateway cannot be reached");
        if (wrong) say(`failed: ${wrong}`);
      }
      // A list that takes long to be read is read less often.
      timer = setTimeout(again, Math.max(SECONDS * 1000, 10 * (performance.now() - began)));
    };
    isOn.addEventListener("change", again);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
    document.addEventListener("change", ({ target }) => {
      if (target.form && target.form.id === "checked") say(isUsed() ? "waits while rows are checked" : "");
    });
    timer = setTimeout(again, SECONDS * 1000);
  };
  if (lists.length) follow();

  const status = document.getElementById("live");
  if (!status || !window.EventSource) return;
  const parts = new Map();
  for (const part of document.querySelectorAll("[data-part]")) parts.set(part.dataset.part, part);
  const waiting = new Map();
  const titled = document.title.split(" · ").slice(1);
  let seen = "";

  const say = (words, isOld) => {
    status.textContent = words;
    document.body.classList.toggle("old", isOld);
  };

  // Who has the focus within a part, or wrote something there, keeps it as it is until he leaves.
  const isUsed = (part) => {
    if (part.contains(document.activeElement)) return true;
    return [...part.querySelectorAll("input:not([type=hidden])")].some((input) => input.value !== input.defaultValue);
  };
  const show = (name, html) => {
    const part = parts.get(name);
    if (!part) return;
    if (isUsed(part)) {
      waiting.set(name, html);
      return;
    }
    waiting.delete(name);
    part.innerHTML = html; // written and escaped by the server
    localize(part);
    if (name === "health") document.title = [part.querySelector("strong").textContent, ...titled].join(" · ");
  };
  document.addEventListener("focusout", () => {
    setTimeout(() => waiting.forEach((html, name) => show(name, html)), 0);
  });

  const source = new EventSource(status.dataset.live);
  source.addEventListener("part", (event) => {
    const { name, html } = JSON.parse(event.data);
    show(name, html);
  });
  source.addEventListener("fresh", (event) => {
    seen = local(new Date(JSON.parse(event.data).at));
    status.setAttribute("aria-live", "off"); // once a second is too much to be read aloud
    say(`Live, ${seen}`, false);
  });
  source.addEventListener("stale", () => {
    status.setAttribute("aria-live", "polite");
    say(`Not live: the queue cannot be reached${seen ? `; as of ${seen}` : ""}`, true);
  });
  source.addEventListener("error", () => {
    status.setAttribute("aria-live", "polite");
    const ended = source.readyState === EventSource.CLOSED;
    say(`Not live${seen ? `, as of ${seen}` : ""}: ${ended ? "reload the page" : "connecting again"}`, true);
  });
  window.addEventListener("pagehide", () => source.close());
})();
