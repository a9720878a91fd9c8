// Keeps the overview up to date, and asks before what cannot be taken back. The page works without it.
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
    seen = JSON.parse(event.data).at;
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
